"""The file of a recipe, read as plain data: YAML with other recipes included, and key=value overrides."""

import math
import re
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from ..core.errors import FastdiffError
from ..core.files import MAX_JSON_DEPTH
from ..core.former_names import renamed_recipe
from ..core.validation import dotted

MAX_VALUES = 100_000  # of a recipe, its aliases counted as copies


class Yaml(yaml.SafeLoader):
    """A YAML loader that reads 1e-4 as a number, as YAML 1.2 does."""


Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_recipe(path: Path, within: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a recipe's plain data, with the stages of the recipes that it includes before its own.

    Args:
        path: the file.
        within: the files that include this one.

    Raises:
        FastdiffError: for a file that cannot be read, is no YAML, or does not fit those that it includes.
    """
    try:
        place = path.resolve()
        text = path.read_text()
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a path with a zero byte
        reason = getattr(error, "strerror", None) or error
        raise FastdiffError(f"recipe {path}: cannot be read ({reason})") from None
    if place in within:
        raise FastdiffError(f"recipe {path}: it includes itself")
    source = parse(text, f"recipe {path}")
    if not isinstance(source, dict):
        raise FastdiffError(
            f"recipe {path}: expected name, data, model and stages, got {type(source).__name__}"
        )
    source = renamed_recipe(source)
    names = source.pop("include", [])
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise FastdiffError(f"recipe {path}: include: expected a list of recipes")
    for name in reversed(names):
        other = read_recipe(path.parent / name, (*within, place))
        include(source, other, f"recipe {path}: include: {name}")
    return source


def include(source: dict[str, Any], other: dict[str, Any], what: str) -> None:
    """Put another recipe's stages before a recipe's own.

    Args:
        source: the recipe's plain data, which are changed; data, model and train may be left out of them.
        other: the plain data of the recipe that it includes, with the same data, model and train.
        what: both recipes, for errors.
    """
    for section in ("data", "model", "train"):
        own_section = source.setdefault(section, other.get(section, {}))
        if changed := differences(own_section, other.get(section, {}), section):
            key, mine, theirs = changed[0]
            raise FastdiffError(f"{what} has {key} = {theirs}, where this recipe has {mine}")
    first = other.get("stages")
    own = source.get("stages", {})
    if not (isinstance(first, dict) and isinstance(own, dict)):
        raise FastdiffError(f"{what}: expected stages in both recipes, name: settings")
    if twice := [name for name in first if name in own and own[name] != first[name]]:
        raise FastdiffError(f"{what} has a stage {twice[0]}, and so has another recipe, with other settings")
    source["stages"] = first | own
    unknown = {key: value for key, value in other.items() if key not in (*source, "name", "bench")}
    source.update(unknown)  # the check of the whole recipe names them


def parse(text: str, what: str) -> Any:
    """Parse YAML safely; the aliases of an anchor become copies of it. what: the text, for errors."""
    try:
        loader = Yaml(text)
        node = loader.get_single_node()
        size = expanded_size(node, {})
        if size == math.inf:
            raise FastdiffError(f"{what}: an anchor contains itself")
        if size > MAX_VALUES:  # before any copy is made
            raise FastdiffError(f"{what}: its aliases stand for {size:,} values")
        return None if node is None else unshared_copy(loader.construct_document(node))
    except RecursionError:
        raise FastdiffError(f"{what}: nested too deep") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-99-99
        raise FastdiffError(f"{what}: not valid YAML ({' '.join(str(error).split())})") from None


def expanded_size(node: yaml.Node | None, known: dict[int, float]) -> float:
    """Return the number of values of a YAML node, with aliases counted as copies; inf if it contains itself.

    Args:
        node: the node.
        known: sizes by the nodes' ids; those of the node and the nodes below it are added.
    """
    if id(node) not in known:
        known[id(node)] = math.inf  # until it is known
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        flat = chain.from_iterable(parts) if isinstance(node, yaml.MappingNode) else parts
        known[id(node)] = 1 + sum(expanded_size(part, known) for part in flat)
    return known[id(node)]


def unshared_copy(value: Any) -> Any:
    """Return a copy of plain data, no part of which is shared."""
    if isinstance(value, dict):
        return {key: unshared_copy(item) for key, item in value.items()}
    return [unshared_copy(item) for item in value] if isinstance(value, list) else value


def override(source: dict[str, Any], assignment: str) -> None:
    """Apply one section.key=value to plain recipe data."""
    keys, sign, value = assignment.partition("=")
    if not sign or not all(keys.split(".")):
        raise FastdiffError(f"override {assignment!r}: expected key=value, for example train.lr=3e-4")
    path = keys.split(".")
    if len(path) > MAX_JSON_DEPTH + 1:
        raise FastdiffError(f"override {assignment!r:.80}: no setting lies below {len(path) - 1} others")
    change = parse(value, f"override {assignment!r}")
    for key in reversed(path):
        change = {key: change}
    change = renamed_recipe(change)
    for _ in path[1:]:
        parent, change = next(iter(change.items()))
        if isinstance(source.get(parent), str):  # method: progressive -> {name: progressive}
            source[parent] = {"name": source[parent]}
        source[parent] = {} if source.get(parent) is None else source[parent]
        source = source[parent]
        if not isinstance(source, dict):
            raise FastdiffError(f"override {assignment!r}: {parent} holds no settings")
    source |= change


def differences(old: Any, new: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Return the keys whose values differ between two recipes' plain data, each with both values."""
    if isinstance(old, dict | None) and isinstance(new, dict | None):  # a section left out is an empty one
        old = old or {}
        new = new or {}
        found = []
        for key in dict.fromkeys([*old, *new]):
            found += differences(old.get(key), new.get(key), dotted(path, str(key)))
        return found
    return [] if old == new else [(path, old, new)]
