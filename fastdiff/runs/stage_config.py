"""The stages of a recipe: read as they are written, checked, and expanded where a list makes a chain."""

import re
from dataclasses import dataclass, fields, replace
from typing import Any, get_origin, get_type_hints

from pydantic import Field

from ..core.errors import FastdiffError
from ..core.validation import Named, Strict, call, check, named, suggestion, validate
from ..data.registry import DATASETS
from ..methods import METHODS, Method
from ..networks import lora
from ..training import config as train_config
from ..training.config import TrainConfig
from ..training.pairs import Pairs
from .model_config import ModelSpec

NAME_PATTERN = r"\w[\w.-]*"  # of recipes and stages: they become folders
RESERVED_FOLDERS = ("samples", "trajectory", "influence", "trackers")  # of a run, none of them a stage
# Settings of a training for which a list is one value, and not a value for each stage of a chain.
TUPLE_SETTINGS = {name for name, hint in get_type_hints(TrainConfig).items() if get_origin(hint) is tuple}


class StageSpec(Strict):
    """A stage as it is written: it trains by a method, or it stores a teacher's pairs.

    Args:
        method: the method and its settings; a list of values for a whole number makes a chain of stages.
        pairs: settings of the pairs to store, in the place of a method.
        data: a stage of pairs or its path; or a data set of the stage's own, as {name: ..., and its options}.
        model: settings of the model that differ from the recipe's, for a stage with data of its own.
        teacher: an earlier stage, a path or a hub id.
        init: the same, of the model that the student starts from; the teacher if not given.
        base: the same, of the model whose samples this one refines, in a cascade.
        train: settings of the training that differ from the recipe's.
    """

    method: Named | None = None
    pairs: dict[str, Any] | None = None
    data: str | dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    teacher: str | None = None
    init: str | None = None
    base: str | None = None
    train: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """One training, or the making of pairs.

    Args:
        name: the name of its folder in the run's directory.
        method_name: the key of METHODS, or "pairs".
        method: the method, None for a stage of pairs.
        train: the settings of the training.
        teacher: an earlier stage, a path or a hub id.
        init: the same, of the model that the student starts from; the teacher if None.
        pairs: the settings of the pairs to store, for a stage of pairs.
        data: the stage or path of the pairs that it learns from, None if it learns from data.
        base: the model whose samples this one refines, in a cascade.
        own: a data set of its own, on which it is trained and not judged; but with `nothing`, which has no
            images, the recipe's data judge it.
        model: the model for that data set.
    """

    name: str
    method_name: str
    method: Method | None
    train: TrainConfig
    teacher: str | None
    init: str | None
    pairs: Pairs | None = None
    data: str | None = None
    base: str | None = None
    own: dict[str, Any] | None = None
    model: ModelSpec | None = None

    @property
    def judged(self) -> bool:
        """Whether the recipe's data judge its samples."""
        return self.own is None or has_no_images(self.own)


Stages = dict[str, Stage]  # by name


def expand(key: str, spec: StageSpec, defaults: dict[str, Any], earlier: Stages) -> list[Stage]:
    """Make the stages of a section: one, or a chain if a setting of its method is a list of values.

    Each stage of a chain is the next one's teacher, and the model that it starts from.

    Args:
        key: the section's name, which is the stage's or begins the names of the chain.
        spec: the section.
        defaults: the recipe's own settings of training.
        earlier: the stages that it may refer to.
    """
    path = f"stages.{key}"
    if spec.pairs is not None:
        return [pairs_stage(path, key, spec, earlier)]
    if spec.method is None:
        raise FastdiffError(f"{path}.method is missing")
    name, options = named(spec.method, f"{path}.method")
    chainable = whole_number_settings(METHODS.get(name, Method))
    lists = [
        setting for setting, value in options.items() if isinstance(value, list) and setting in chainable
    ]
    if not lists:
        return [training_stage(path, key, spec, defaults, earlier)]
    varied = lists[0]
    values = options[varied]
    if len(lists) > 1 or not values:
        raise FastdiffError(
            f"{path}.method: a chain is one list of values, got {lists[-1]} = {options[lists[-1]]}"
        )
    stages: list[Stage] = []
    for i, value in enumerate(values):
        changes: dict[str, Any] = {"method": spec.method | {varied: value}}
        changes["train"] = {
            setting: value_of(every, i, len(values), setting, f"{path}.train.{setting}")
            for setting, every in spec.train.items()
        }
        if stages:
            changes |= {"teacher": stages[-1].name, "init": None}
        link = spec.model_copy(update=changes)
        made = {stage.name: stage for stage in stages}
        stages.append(training_stage(path, f"{key}-{value}", link, defaults, earlier | made))
    return stages


def whole_number_settings(method: type[Method]) -> set[str]:
    """Return the settings of a method that are one int, with bounds or without; a list of ints makes a chain.

    For a setting that is a tuple, a list is the value.
    """
    hints = get_type_hints(method)  # the types, without what Annotated adds to them
    return {setting.name for setting in fields(method) if hints[setting.name] is int}


def value_of(value: Any, index: int, count: int, setting: str, path: str) -> Any:
    """Return a training setting's value for stage `index` of a chain of `count`; a list has one for each."""
    if not isinstance(value, list) or setting in TUPLE_SETTINGS:
        return value
    if len(value) != count:
        raise FastdiffError(f"{path}: {len(value)} values for a chain of {count} stages")
    return value[index]


def training_stage(path: str, key: str, spec: StageSpec, defaults: dict[str, Any], earlier: Stages) -> Stage:
    """Make one stage that trains, its settings checked."""
    check_name(path, key, earlier)
    name, options = named(spec.method, f"{path}.method")
    method = call(METHODS, name, options, f"{path}.method")
    train_config.check_types(defaults, "train")
    config = train_config.read(defaults, method.training, spec.train, path=f"{path}.train")
    if method.needs_teacher and not spec.teacher:
        raise FastdiffError(
            f"{path}.teacher is missing: method {name} learns from a teacher, a stage or a model's path"
        )
    if config.lora:
        lora.installed()
        if not (spec.teacher or spec.init):
            raise FastdiffError(
                f"{path}.train.lora: an adapter needs a model to be put on: set teacher or init"
            )
    for role, reference in (("teacher", spec.teacher), ("init", spec.init)):
        check_reference(f"{path}.{role}", reference, earlier)
    return Stage(key, name, method, config, spec.teacher, spec.init)


def pairs_stage(path: str, key: str, spec: StageSpec, earlier: Stages) -> Stage:
    """Make one stage that stores a teacher's pairs, its settings checked."""
    if unused := [what for what in ("method", "data", "init", "base", "train") if getattr(spec, what)]:
        raise FastdiffError(
            f"{path}.{unused[0]}: a stage of pairs trains nothing, it takes pairs and teacher alone"
        )
    if not spec.teacher:
        raise FastdiffError(
            f"{path}.teacher is missing: pairs are made by a teacher, a stage or a model's path"
        )
    check_name(path, key, earlier)
    check_reference(f"{path}.teacher", spec.teacher, earlier)
    pairs = call({"pairs": Pairs}, "pairs", spec.pairs, f"{path}.pairs")
    return Stage(key, "pairs", None, TrainConfig(), spec.teacher, None, pairs)


def with_data(
    path: str, spec: StageSpec, made: list[Stage], earlier: Stages, model: dict[str, Any]
) -> list[Stage]:
    """Return the stages of a section with what they learn from: stored pairs, or a data set of their own.

    Args:
        path: the section's path, for errors.
        spec: the section.
        made: its stages.
        earlier: the stages that it may refer to.
        model: the recipe's settings of the model, which the section's own are put over.
    """
    check_reference(f"{path}.base", spec.base, earlier)
    if spec.model and not isinstance(spec.data, dict):
        raise FastdiffError(
            f"{path}.model: a stage has a model of its own where it has data of its own: set {path}.data"
        )
    if isinstance(spec.data, dict):
        check_dataset_options(f"{path}.data", spec.data)
        own = validate(ModelSpec, model | (spec.model or {}), f"{path}.model")
        return [replace(stage, own=spec.data, model=own, base=spec.base) for stage in made]
    pairs = {stage.name for stage in earlier.values() if stage.pairs}
    if spec.data and spec.data not in pairs and not is_path(spec.data):
        raise FastdiffError(
            f"{path}.data: {spec.data!r} is no earlier stage of pairs and no path"
            f"{suggestion(spec.data, pairs)}"
        )
    lacking = [stage for stage in made if stage.method and stage.method.needs_pairs and not spec.data]
    if lacking:
        raise FastdiffError(
            f"{path}.data is missing: method {lacking[0].method_name} learns from stored pairs of noise and "
            "sample, a stage with pairs or its path"
        )
    return [replace(stage, data=spec.data, base=spec.base) for stage in made]


def is_path(reference: str) -> bool:
    """Return whether a reference is a path or a hub id, and not the name of a stage."""
    return any(mark in reference for mark in "/.~")


def has_no_images(data: Any) -> bool:
    """Return whether data, as a recipe writes them, are `nothing`."""
    return named(data, "data")[0] == "nothing"


def check_dataset_options(path: str, data: Any) -> None:
    """Refuse options that a data set of that name does not know; a folder's are checked when it is opened."""
    name, options = named(data, path)
    if name in DATASETS:
        check(DATASETS, name, options, path)


def check_images(path: str, stage: Stage, data: Any) -> None:
    """Refuse a stage without the images that its method needs; data: the recipe's."""
    if stage.method and stage.method.needs_images and not stage.data and has_no_images(stage.own or data):
        raise FastdiffError(
            f"{path}.data: `nothing` has no images, and method {stage.method_name} as it is set learns from "
            "images: name other data, or a method that does without"
        )


def check_name(path: str, key: str, earlier: Stages) -> None:
    """Refuse a stage's name that cannot name a folder, or that another stage has."""
    if not re.fullmatch(NAME_PATTERN, key) or key in RESERVED_FOLDERS:
        raise FastdiffError(
            f"{path}: {key!r} names a folder, expected letters, digits, _ . and -, not "
            f"{', '.join(RESERVED_FOLDERS)}"
        )
    if key in earlier:
        raise FastdiffError(f"{path}: two stages would be called {key}")


def check_reference(path: str, reference: str | None, earlier: Stages) -> None:
    """Refuse a reference that is neither an earlier stage's model nor a path."""
    models = {name for name, stage in earlier.items() if stage.method}
    if reference and reference not in models and not is_path(reference):
        raise FastdiffError(
            f"{path}: {reference!r} is no earlier stage and no path{suggestion(reference, models)}"
        )
