"""What a recipe's file says: YAML with other recipes included and key=value overrides, as plain data."""

import math
import re
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from ..core.errors import FastdiffError
from ..core.files import MAX_JSON_DEPTH
from ..core.validation import dotted

MOST = 100_000  # values of a recipe


class Yaml(yaml.SafeLoader):
    """YAML in which 1e-4 is a number, as version 1.2 has it."""


Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read(path: Path, within: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's plain data, the stages of those that it includes before its own; within: those that include it."""
    try:
        place, text = path.resolve(), path.read_text()
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a path with a zero byte
        raise FastdiffError(
            f"recipe {path}: cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from None
    if place in within:
        raise FastdiffError(f"recipe {path}: it includes itself")
    source = parse(text, f"recipe {path}")
    if not isinstance(source, dict):
        raise FastdiffError(
            f"recipe {path}: expected name, data, model and stages, got {type(source).__name__}"
        )
    names = source.pop("include", [])
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise FastdiffError(f"recipe {path}: include: expected a list of recipes")
    for name in reversed(names):
        include(source, read(path.parent / name, (*within, place)), f"recipe {path}: include: {name}")
    return source


def include(source: dict[str, Any], other: dict[str, Any], what: str) -> None:
    """Put another recipe's stages before a recipe's own; data, model and train are the same, and need not be said twice."""
    for key in ("data", "model", "train"):
        if changed := differences(source.setdefault(key, other.get(key, {})), other.get(key, {}), key):
            key, mine, theirs = changed[0]
            raise FastdiffError(f"{what} has {key} = {theirs}, where this recipe has {mine}")
    first, own = other.get("stages"), source.get("stages", {})
    if not (isinstance(first, dict) and isinstance(own, dict)):
        raise FastdiffError(f"{what}: expected stages in both recipes, name: settings")
    if twice := [name for name in first if name in own and own[name] != first[name]]:
        raise FastdiffError(f"{what} has a stage {twice[0]}, and so has another recipe, with other settings")
    source["stages"] = first | own
    source.update(
        {key: value for key, value in other.items() if key not in (*source, "name", "bench")}
    )  # to be refused


def parse(text: str, what: str) -> Any:
    """What YAML says, safely; an anchor's aliases are copies of it."""
    try:
        loader = Yaml(text)
        node = loader.get_single_node()
        if (size := weight(node, {})) > MOST:  # before any copy is made
            many = (
                "an anchor contains itself" if size == math.inf else f"its aliases stand for {size:,} values"
            )
            raise FastdiffError(f"{what}: {many}")
        return None if node is None else copied(loader.construct_document(node))
    except RecursionError:
        raise FastdiffError(f"{what}: nested too deep") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-99-99
        raise FastdiffError(f"{what}: not valid YAML ({' '.join(str(error).split())})") from None


def weight(node: Any, known: dict[int, float]) -> float:
    """How many values a node of YAML stands for, its aliases counted as copies; infinitely many where it contains itself."""
    if id(node) not in known:
        known[id(node)] = math.inf  # until it is known
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        flat = chain.from_iterable(parts) if isinstance(node, yaml.MappingNode) else parts
        known[id(node)] = 1 + sum(weight(part, known) for part in flat)
    return known[id(node)]


def copied(value: Any) -> Any:
    """Nothing of it is shared."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


def override(source: dict[str, Any], assignment: str) -> None:
    """Apply one section.key=value to plain recipe data."""
    keys, sign, value = assignment.partition("=")
    if not sign or not all(keys.split(".")):
        raise FastdiffError(f"override {assignment!r}: expected key=value, for example train.lr=3e-4")
    *parents, last = keys.split(".")
    if len(parents) > MAX_JSON_DEPTH:
        raise FastdiffError(f"override {assignment!r:.80}: no setting lies below {len(parents)} others")
    for parent in parents:
        if isinstance(source.get(parent), str):  # method: progressive -> {name: progressive}
            source[parent] = {"name": source[parent]}
        source[parent] = {} if source.get(parent) is None else source[parent]
        source = source[parent]
        if not isinstance(source, dict):
            raise FastdiffError(f"override {assignment!r}: {parent} holds no settings")
    source[last] = parse(value, f"override {assignment!r}")


def differences(old: Any, new: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Keys whose values differ between two recipes' plain data."""
    if isinstance(old, dict | None) and isinstance(new, dict | None):  # a section left out is an empty one
        old, new = old or {}, new or {}
        return [
            d
            for k in dict.fromkeys([*old, *new])
            for d in differences(old.get(k), new.get(k), dotted(path, str(k)))
        ]
    return [] if old == new else [(path, old, new)]
