"""Recipes changed at random: extreme values at any place."""

import copy
import math
import os
import re

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from fastdiff.core.errors import FastdiffError, printable
from fastdiff.runs.recipe import build
from fastdiff.runs.recipe_file import read_recipe
from tests.helpers.paths import ROOT

SHIPPED = [read_recipe(path) for path in sorted((ROOT / "recipes").rglob("*.yaml"))]


EXTREMES = [
    0,
    1,
    -1,
    2,
    3,
    7,
    10**12,
    -(10**12),
    2**63,
    10**400,
    0.5,
    0.9,
    1.5,
    100.0,
    1e-9,
    1e-300,
    1e300,
    -0.0,
    math.inf,
    -math.inf,
    math.nan,
]


NUMBERS = st.sampled_from(EXTREMES) | st.integers() | st.floats()


WORDS = st.sampled_from(
    [
        "",
        "teacher",
        "digits",
        "mlp",
        "unet",
        "lognormal",
        "heun",
        "ddim:4",
        "1e-4",
        "a/b",
        "name",
        "null",
        "10s",
        "../x",
        "ddim[eta=0.5]",
        "karras",
    ]
) | st.text(max_size=8)


PLAIN = st.none() | st.booleans() | NUMBERS | WORDS


VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(WORDS, inner, max_size=3)
        | st.dictionaries(st.just("name"), WORDS, min_size=1)
    ),
    max_leaves=5,
)


def places(node, path=()):
    """The paths of all keys and list items of plain data."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def at(source, path):
    for key in path:
        source = source[key]
    return source


@st.composite
def mutated(draw, recipes=SHIPPED):
    """A recipe and what became of it by one to three mutations."""
    original = draw(st.sampled_from(recipes))
    source = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        *above, key = draw(st.sampled_from(list(places(source)) or [("name",)]))
        holder, stages = at(source, above), source.get("stages")
        kind = draw(st.sampled_from(["replace", "delete", "rename", "swap", "twin", "order"]))
        if kind == "replace":
            holder[key] = draw(VALUES)
        elif kind == "delete":
            del holder[key]
        elif kind == "rename" and isinstance(holder, dict):
            name = draw(
                st.sampled_from([f"{key}s", str(key)[1:], "name", "steps", "teacher", "method"]) | PLAIN
            )
            holder[name] = holder.pop(key)
        elif kind == "swap":
            *there, other = draw(st.sampled_from(list(places(source))))
            if above != there[: len(above)] and there != above[: len(there)] or above == there:
                second = at(source, there)
                holder[key], second[other] = second[other], holder[key]
        elif isinstance(stages, dict) and stages:
            if kind == "order":
                source["stages"] = {name: stages[name] for name in draw(st.permutations(list(stages)))}
            else:
                twin = draw(st.sampled_from(list(stages)))
                stages[draw(st.sampled_from(["twin", f"{twin}-1", f"{twin}-4"]))] = copy.deepcopy(
                    stages[twin]
                )
        if not source:
            break
    return original, source


def paths(source):
    words = [[key if key and isinstance(key, str) else repr(key) for key in path] for path in places(source)]
    return {".".join(path[:n]) for path in words for n in range(1, len(path) + 1)}


def told(source, *originals):
    """The line with which a recipe is refused, None where it builds; it names a key that is or was there."""
    try:
        build(source)
    except FastdiffError as error:
        line = str(error)
        known = {"name", "data", "model", "train", "stages", "bench"}.union(*map(paths, (source, *originals)))
        assert "\n" not in line and len(line) < 1500
        shown = {printable(path) for path in known if path}
        assert any(line.startswith(path) and re.match(r"[.: =]", line[len(path) :]) for path in shown), line
        return line
    return None


def examples(count):
    """The same ones every time, without a clock: CI does not fail by chance. A search takes more of them,
    at random."""
    more = int(os.environ.get("FASTDIFF_EXAMPLES", 0))
    return settings(
        max_examples=more or count,
        derandomize=not more,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
