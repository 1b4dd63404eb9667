"""The claim of a run's directory by a recipe: which stages it has made already with other settings."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator

from ..core.errors import FastdiffError
from ..core.files import atomic_write
from ..training.checkpoint import newest_step
from ..training.config import CHANGEABLE_ON_RESUME
from .origin import non_default_settings, set_aside
from .recipe import Recipe, build
from .recipe_file import differences, read_recipe
from .stage_config import Stage

RECIPE_FILE = "recipe.yaml"

Settings = dict[str, Any]
Change = tuple[str, Any, Any]  # key, old value, new value


def claim(folder: Path, recipe: Recipe, accelerator: Accelerator, redo: tuple[str, ...] = ()) -> list[str]:
    """Write a recipe into a run's directory; set aside the stages to redo whose settings have changed.

    Args:
        folder: the run's directory.
        recipe: the recipe.
        accelerator: accelerator of this process.
        redo: names of stages that may be trained again, with what follows them.

    Returns:
        The names of the stages in `redo` that have the same settings as before, or are not in the directory.

    Raises:
        FastdiffError: if another recipe has made the directory, or stages in it that are not in `redo`.
    """
    if strange := [name for name in redo if name not in {stage.name for stage in recipe.stages}]:
        known = ", ".join(stage.name for stage in recipe.stages)
        raise FastdiffError(f"--redo {strange[0]}: no such stage, choose from {known}")
    changes = changed_stages(folder, recipe)
    ahead = descendants(recipe, redo)
    if left := [name for name in changes if name not in ahead]:
        raise FastdiffError(refusal(folder, recipe, changes, left))
    accelerator.wait_for_everyone()  # every process has read the old recipe
    if accelerator.is_main_process:
        for name in changes:
            aside = set_aside(folder / name)
            print(f"{name}: trained again with other settings; the old one is kept as {aside.name}")
        with atomic_write(folder / RECIPE_FILE) as scratch:
            scratch.write_text(yaml.safe_dump(recipe.source, sort_keys=False), encoding="utf-8")
    accelerator.wait_for_everyone()
    return [name for name in redo if name not in changes]


def changed_stages(folder: Path, recipe: Recipe) -> dict[str, Change]:
    """Return the stages in a run's directory that were made with other settings, with the first change.

    Raises:
        FastdiffError: if the directory's recipe has another name, or settings that this version refuses.
    """
    path = folder / RECIPE_FILE
    if not path.exists():
        return {}
    source = read_recipe(path)
    changes = differences(trained_settings(source), trained_settings(recipe.source))
    if not changes:
        return {}
    if source.get("name") != recipe.name:
        raise FastdiffError(
            f"{folder} was made with name = {source.get('name')}, and the recipe now has {recipe.name}: give "
            f"another --out, or delete {folder} to start over"
        )
    try:
        old = build(source)
    except FastdiffError as error:
        raise FastdiffError(
            f"{path}: this version cannot read the settings that the run was made with ({error}): give "
            "another --out"
        ) from None
    before = {stage.name: effective_settings(old, stage) for stage in old.stages}
    changed = {}
    for stage in recipe.stages:
        if not (folder / stage.name / "origin.json").exists():
            continue
        present = effective_settings(recipe, stage)
        if stage.name not in before:
            changed[stage.name] = (f"stages.{stage.name}", "no such stage", "one")
        elif (differing := differences(before[stage.name], present)) and not (
            can_continue(folder, stage, differing)
        ):
            changed[stage.name] = named_change(stage, differing[0], changes)
    return changed


def trained_settings(source: Settings) -> Settings:
    """Return a recipe's plain data without benchmark and trackers, which may change after the training."""
    return {key: value for key, value in source.items() if key not in ("bench", "trackers")}


def effective_settings(recipe: Recipe, stage: Stage) -> Settings:
    """Return all settings that decide a stage's result, as plain data; those of other stages are left out."""
    settings: Settings = {
        "method": {"name": stage.method_name, **non_default_settings(stage.pairs or stage.method)},
        "teacher": stage.teacher,
        "init": stage.init,
        "base": stage.base,
        "stored pairs": stage.data,
        "data": stage.own or recipe.source["data"],
    }
    if stage.method:
        settings["train"] = {
            key: value for key, value in asdict(stage.train).items() if key not in CHANGEABLE_ON_RESUME
        }
        settings["train"]["roles"] = {
            role: own.model_dump() for role, own in (stage.train.roles or {}).items()
        }
        settings["train"]["lora"] = stage.train.lora and repr(stage.train.lora)
    if stage.method and not (stage.init or stage.teacher):
        settings["model"] = (stage.model or recipe.model).model_dump()
    return settings


def can_continue(folder: Path, stage: Stage, differing: list[Change]) -> bool:
    """Return whether a stage's training continues although its settings differ: it only becomes longer.

    The learning rate has to be constant after the warm-up, the method's loss must not depend on the number
    of all steps, and the state of the last step has to be in the folder.
    """
    if [key for key, _, _ in differing] != ["train.steps"]:
        return False
    _, old, new = differing[0]
    return (
        new > old
        and stage.train.lr_schedule == "constant"
        and not stage.method.depends_on_length
        and newest_step(folder / stage.name / "state") is not None
    )


def named_change(stage: Stage, differing: Change, changes: list[Change]) -> Change:
    """Return the change of a recipe's keys that changes a stage.

    Args:
        stage: the stage.
        differing: the first of the stage's effective settings that differ.
        changes: the keys of the whole recipe that differ.
    """
    setting, old, new = differing
    keys = [key for key, _, _ in changes if concerns(key, stage, setting)]
    exact = [key for key in keys if key.endswith(setting)]
    return ([*exact, *keys, setting][0], old, new)


def concerns(key: str, stage: Stage, setting: str) -> bool:
    """Return whether a recipe's key is in a stage's section, or in the section of one of its settings."""
    section, *rest = key.split(".")
    if section == "stages" and rest:
        return stage.name == rest[0] or stage.name.startswith(f"{rest[0]}-")
    return section == setting.split(".")[0]


def refusal(folder: Path, recipe: Recipe, changes: dict[str, Change], left: list[str]) -> str:
    """Return the error for stages that were made with other settings and are not to be redone.

    Args:
        folder: the run's directory.
        recipe: the recipe.
        changes: all stages whose settings have changed.
        left: those that are not to be redone.
    """
    roots = [name for name in left if not any(name in descendants(recipe, (o,)) - {o} for o in left)]
    key, old, new = changes[roots[0]]
    options = " ".join(f"--redo {name}" for name in roots)
    return (
        f"{folder / roots[0]} was made with {key} = {old}, and the recipe now has {new}: add {options} to "
        "train again what has changed and what follows it (the old folders are kept), or give another --out"
    )


def descendants(recipe: Recipe, names: tuple[str, ...]) -> set[str]:
    """Return the names of stages and of all later stages that build on one of them."""
    found = set(names)
    for stage in recipe.stages:
        if found & {stage.teacher, stage.init, stage.base, stage.data}:
            found.add(stage.name)
    return found
