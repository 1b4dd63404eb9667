"""A first check of a recipe's keys and names, against fastdiff's source text.

It imports neither torch nor what needs it, so that a typing error is reported at once; `recipe.build` checks
the rest, and the same again.
"""

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import FastdiffError
from ..core.former_names import renamed_recipe
from ..core.plugins import plugin_hashes
from ..core.wording import suggestion, unregistered
from .recipe_file import override, read_recipe, recipe_path

PACKAGE = Path(__file__).parents[1]


class Place(NamedTuple):
    """The place of a definition: module, dotted from the package, and name."""

    module: str
    name: str


RECIPE = Place("runs.recipe", "RecipeSpec")
MODEL = Place("runs.model_config", "ModelSpec")
STAGE = Place("runs.stage_config", "StageSpec")
TRAIN = Place("training.config", "TrainConfig")
BENCH = Place("evaluation.config", "BenchConfig")
METHODS = Place("methods", "METHODS")
NETWORKS = Place("networks", "NETWORKS")
SCHEDULES = Place("core.schedule", "SCHEDULES")


def check_file(path: Path, overrides: Iterable[str]) -> None:
    """Read a recipe file and check its keys; see `runs.recipe.load` for the arguments and errors."""
    source = read_recipe(recipe_path(path))
    for assignment in overrides:
        override(source, assignment)
    try:
        check_source(renamed_recipe(source))
    except FastdiffError as error:
        raise FastdiffError(f"recipe {path}: {error}") from None


def check_source(source: dict[str, Any]) -> None:
    """Raise FastdiffError for an unknown key, method, network or schedule in a recipe's plain data.

    Values of other kinds than expected pass. Names are not checked where a plugin may have registered them.
    """
    check_section(source, "", RECIPE)
    check_model(source.get("model"), "model")
    check_section(source.get("train"), "train", TRAIN)
    stages = source.get("stages")
    for name, stage in stages.items() if isinstance(stages, dict) else ():
        path = f"stages.{name}"
        if isinstance(stage, dict):
            check_section(stage, path, STAGE)
            check_choice(stage.get("method"), f"{path}.method", METHODS)
            check_model(stage.get("model"), f"{path}.model")
            check_section(stage.get("train"), f"{path}.train", TRAIN)
    check_section(source.get("bench"), "bench", BENCH)


def check_model(section: Any, path: str) -> None:
    """Check the settings of a model."""
    check_section(section, path, MODEL)
    if isinstance(section, dict):
        check_choice(section.get("net"), f"{path}.net", NETWORKS)
        check_choice(section.get("schedule"), f"{path}.schedule", SCHEDULES)


def check_choice(value: Any, path: str, registry: Place) -> None:
    """Check a name, or {name: ..., option: ...}, against a registry and the settings of its entry."""
    options = {"name": value} if isinstance(value, str) else value
    if plugin_hashes() or not (isinstance(options, dict) and isinstance(options.get("name"), str)):
        return
    entries = registered(registry)
    if (name := options["name"]) not in entries:
        raise FastdiffError(unregistered(f"{path}: {name!r}", name, entries))
    if entry := entries[name]:
        check_section({key: value for key, value in options.items() if key != "name"}, path, entry)


def check_section(section: Any, path: str, place: Place) -> None:
    """Check the keys of a section against the settings of a class or function."""
    if not isinstance(section, dict):
        return
    known = settings(place)
    for key in section:
        if isinstance(key, str) and key not in known:
            raise FastdiffError(f"{path}{'.' * bool(path)}{key} is unknown{suggestion(key, known)}")


@cache
def tree(module: str) -> ast.Module:
    """Return the syntax tree of a module."""
    path = PACKAGE.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def definition(place: Place) -> tuple[str, ast.stmt] | None:
    """Return a class, function or assignment, and the module that it is in; None if it is not in fastdiff."""
    for node in tree(place.module).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if place.name in (getattr(node, "name", None), getattr(target, "id", None)):
            return place.module, node
        if isinstance(node, ast.ImportFrom) and node.level:
            for alias in node.names:
                if place.name == (alias.asname or alias.name):
                    return definition(Place(source_of(place.module, node), alias.name))
    return None


def source_of(module: str, node: ast.ImportFrom) -> str:
    """Return the module that a relative import names."""
    parts = module.split(".")
    if PACKAGE.joinpath(*parts).is_dir():
        parts.append("__init__")
    return ".".join([*parts[: len(parts) - node.level], *filter(None, [node.module])])


@cache
def registered(registry: Place) -> Mapping[str, Place | None]:
    """Return the names in a registry, each with the place of its entry; None if the entry is computed."""
    module, node = definition(registry)
    entries: dict[str, Place | None] = {}
    contents = node.value.args[0] if isinstance(node.value, ast.Call) else node.value  # of a Registry
    for key, value in zip(contents.keys, contents.values):
        if key is None:  # **OTHER
            entries |= registered(Place(module, value.id))
        else:
            entries[key.value] = Place(module, value.id) if isinstance(value, ast.Name) else None
    return entries


@cache
def settings(place: Place) -> frozenset[str]:
    """Return the names of a function's options, or of a class's fields with those of its bases."""
    found = definition(place)
    if found is None:
        return frozenset()
    module, node = found
    if isinstance(node, ast.FunctionDef):
        positional = node.args.args[2:]  # after shape and classes
        return frozenset(argument.arg for argument in (*positional, *node.args.kwonlyargs))
    names = {
        line.target.id
        for line in node.body
        if isinstance(line, ast.AnnAssign) and "ClassVar" not in ast.unparse(line.annotation)
    }
    bases = [settings(Place(module, base.id)) for base in node.bases if isinstance(base, ast.Name)]
    return frozenset(names).union(*bases)
