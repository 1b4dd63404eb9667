"""What a recipe's file says: YAML with other recipes included and key=value overrides, as plain data."""

import re
from pathlib import Path
from typing import Any

import yaml

from .errors import FastdiffError
from .settings import dotted


class Yaml(yaml.SafeLoader):
    """YAML in which 1e-4 is a number, as version 1.2 has it."""


Yaml.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def read(path: Path, within: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's plain data, the stages of those that it includes before its own; within: those that include it."""
    try:
        place, text = path.resolve(), path.read_text()
    except (OSError, ValueError) as error:                                # ValueError: no UTF-8, or a path with a zero byte
        raise FastdiffError(f"recipe {path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if place in within:
        raise FastdiffError(f"recipe {path}: it includes itself")
    source = parse(text, f"recipe {path}")
    if not isinstance(source, dict):
        raise FastdiffError(f"recipe {path}: expected name, data, model and stages, got {type(source).__name__}")
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
    source.update({key: value for key, value in other.items() if key not in (*source, "name", "bench")})     # to be refused


def parse(text: str, what: str) -> Any:
    """What YAML says, safely; an anchor's aliases are copies of it."""
    try:
        return copied(yaml.load(text, Yaml))
    except RecursionError:
        raise FastdiffError(f"{what}: an anchor contains itself") from None
    except (yaml.YAMLError, ValueError) as error:                         # ValueError: a date such as 2024-99-99
        raise FastdiffError(f"{what}: not valid YAML ({' '.join(str(error).split())})") from None


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
    for parent in parents:
        if isinstance(source.get(parent), str):                          # method: progressive -> {name: progressive}
            source[parent] = {"name": source[parent]}
        source[parent] = {} if source.get(parent) is None else source[parent]
        source = source[parent]
        if not isinstance(source, dict):
            raise FastdiffError(f"override {assignment!r}: {parent} holds no settings")
    source[last] = parse(value, f"override {assignment!r}")


def differences(old: Any, new: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Keys whose values differ between two recipes' plain data."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [d for k in dict.fromkeys([*old, *new]) for d in differences(old.get(k), new.get(k), dotted(path, str(k)))]
    return [] if old == new else [(path, old, new)]
