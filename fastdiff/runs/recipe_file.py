"""The file of a recipe as plain data: YAML that may include other recipes, and key=value overrides."""

import math
import re
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from ..core.errors import FastdiffError
from ..core.files import MAX_JSON_DEPTH
from ..core.former_names import renamed_recipe
from ..core.shipped import shipped, shipped_recipes
from ..core.validation import dotted
from ..core.wording import nearest

BOOL_TAG = "tag:yaml.org,2002:bool"
INT_TAG = "tag:yaml.org,2002:int"
FLOAT_TAG = "tag:yaml.org,2002:float"
MERGE_TAG = "tag:yaml.org,2002:merge"  # of the key <<
SWITCHES = {"yes": True, "on": True, "no": False, "off": False}
MAX_VALUES = 100_000  # largest number of values in a recipe, where aliases count as copies


class Yaml(yaml.SafeLoader):
    """A YAML loader that reads words and numbers as YAML 1.2 does.

    1e-4 is a number, 010 is ten, and 1:30 is a text; yes, no, on and off are words, which settings that are
    true or false take as well.
    """

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in (BOOL_TAG, INT_TAG, FLOAT_TAG)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def integer(self, node: yaml.ScalarNode) -> int:
        """Return the value of an integer, decimal unless it begins with 0x or 0b."""
        text = node.value.replace("_", "")
        return int(text, 0 if re.match(r"[-+]?0[xb]", text) else 10)


Yaml.add_constructor(INT_TAG, Yaml.integer)
for tag, pattern, first in (
    (BOOL_TAG, r"(true|True|TRUE|false|False|FALSE)$", "tTfF"),
    (INT_TAG, r"[-+]?(0b[01_]+|0x[\da-fA-F_]+|\d[\d_]*)$", "-+0123456789"),
    (FLOAT_TAG, r"[-+]?(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)([eE][-+]?\d+)?$", "-+0123456789."),
    (FLOAT_TAG, r"([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$", "-+."),
):
    Yaml.add_implicit_resolver(tag, re.compile(pattern), list(first))


def recipe_path(name: str | Path) -> Path:
    """Return the file of a recipe: an existing path, else a shipped recipe.

    Args:
        name: a path, or the name of a shipped recipe, such as digits or methods/ect.

    Raises:
        FastdiffError: if there is no such file and no shipped recipe of that name.
    """
    known = shipped_recipes()
    found = shipped(name) or known.get(str(name))
    if found is None:
        near = nearest(str(name), known)
        hint = f"did you mean {near}?" if near else "`fastdiff list recipes` shows them"
        raise FastdiffError(f"recipe {name}: no such file, and no shipped recipe has that name; {hint}")
    return found


def read_recipe(path: Path, within: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read the plain data of a recipe file; the stages of included recipes come before its own.

    Args:
        path: the file.
        within: the files that include this one.

    Raises:
        FastdiffError: for a file that cannot be read, is not valid YAML, or does not fit the recipes that it
            includes.
    """
    try:
        place = path.resolve()
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path with a zero byte
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
    """Insert the stages of an included recipe before a recipe's own.

    Args:
        source: plain data of the recipe, which are changed in place; data, model and train may be missing.
        other: plain data of the included recipe, which has to have the same data, model and train.
        what: names of both recipes, for errors.
    """
    for section in ("data", "model", "train"):
        if section not in source and section not in other:
            continue
        own_section = source.setdefault(section, other.get(section, {}))
        if changed := differences(own_section, other.get(section, {}), section):
            key, own_value, other_value = changed[0]
            raise FastdiffError(f"{what} has {key} = {other_value}, and this recipe has {own_value}")
    first = other.get("stages")
    own = source.get("stages", {})
    if not (isinstance(first, dict) and isinstance(own, dict)):
        raise FastdiffError(f"{what}: expected stages in both recipes, name: settings")
    if twice := [name for name in first if name in own and own[name] != first[name]]:
        raise FastdiffError(
            f"{what} has a stage {twice[0]}, and another recipe has one of that name with other settings"
        )
    source["stages"] = first | own
    unknown = {key: value for key, value in other.items() if key not in (*source, "name", "bench")}
    source.update(unknown)  # the check of the whole recipe reports them


def parse(text: str, what: str) -> Any:
    """Parse YAML safely; aliases become copies.

    Args:
        text: the YAML text.
        what: name of the text, for errors.

    Raises:
        FastdiffError: for invalid YAML, or YAML that is nested too deep or expands to too many values.
    """
    try:
        loader = Yaml(text)
        node = loader.get_single_node()
        size = expanded_size(node, {})
        if size == math.inf:
            raise FastdiffError(f"{what}: an anchor contains itself")
        if size > MAX_VALUES:  # before anything is copied
            raise FastdiffError(
                f"{what}: its aliases expand to {size:,} values, expected at most {MAX_VALUES:,}"
            )
        if node is not None:
            check_unique_keys(loader, node, what)
        return None if node is None else unshared_copy(loader.construct_document(node))
    except RecursionError:
        raise FastdiffError(f"{what}: nested too deep") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-99-99
        raise FastdiffError(f"{what}: not valid YAML ({' '.join(str(error).split())})") from None


def check_unique_keys(loader: yaml.SafeLoader, node: yaml.Node, what: str) -> None:
    """Raise FastdiffError for a key that a mapping has twice, of which YAML's loader would keep the last.

    Args:
        loader: the loader, which turns keys into values: 1 and 0x1 are the same key.
        node: a mapping, or a list that contains some.
        what: name of the text, for the error.
    """
    seen = set()  # nodes, of which an alias is not checked again
    left = [node]
    while left:
        node = left.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            left += node.value
            continue
        lines: dict[Any, int] = {}
        for key, value in node.value:
            left.append(value)
            if not isinstance(key, yaml.ScalarNode):
                continue
            name = key.value if key.tag == MERGE_TAG else loader.construct_object(key)
            line = key.start_mark.line + 1
            if name in lines:
                raise FastdiffError(
                    f"{what}: {key.value} is given twice, in lines {lines[name]} and {line}: expected each "
                    "key once; remove or rename one"
                )
            lines[name] = line


def expanded_size(node: yaml.Node | None, known: dict[int, float]) -> float:
    """Return the number of values in a YAML node, where aliases count as copies; inf if it contains itself.

    Args:
        node: the node.
        known: id of a node -> its size; the node and all nodes below it are added.
    """
    if id(node) not in known:
        known[id(node)] = math.inf  # while its parts are counted
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        flat = chain.from_iterable(parts) if isinstance(node, yaml.MappingNode) else parts
        known[id(node)] = 1 + sum(expanded_size(part, known) for part in flat)
    return known[id(node)]


def unshared_copy(value: Any) -> Any:
    """Return a deep copy of plain data, in which no two parts share an object."""
    if isinstance(value, dict):
        return {key: unshared_copy(item) for key, item in value.items()}
    return [unshared_copy(item) for item in value] if isinstance(value, list) else value


def override(source: dict[str, Any], assignment: str) -> None:
    """Apply an override, section.key=value, to the plain data of a recipe, in place."""
    keys, sign, value = assignment.partition("=")
    if not sign or not all(keys.split(".")):
        raise FastdiffError(f"override {assignment!r}: expected key=value, for example train.lr=3e-4")
    path = keys.split(".")
    if len(path) > MAX_JSON_DEPTH + 1:
        raise FastdiffError(f"override {assignment!r:.80}: expected at most {MAX_JSON_DEPTH + 1} nested keys")
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
    """Return the keys whose values differ between two recipes' plain data, as (key, old value, new value)."""
    if isinstance(old, dict | None) and isinstance(new, dict | None):  # a missing section counts as empty
        old = old or {}
        new = new or {}
        changes = []
        for key in dict.fromkeys([*old, *new]):
            changes += differences(old.get(key), new.get(key), dotted(path, str(key)))
        return changes
    return [] if as_switch(old) == as_switch(new) else [(path, old, new)]


def as_switch(value: Any) -> Any:
    """Return true or false for a word that means it; earlier versions wrote these words so into recipes."""
    return SWITCHES.get(value.lower(), value) if isinstance(value, str) else value
