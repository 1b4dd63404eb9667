"""Whatever is done to a recipe, it builds or is refused by one line with a key; and what builds runs, or is refused."""

import copy
import itertools
import math
import os
import re
import tempfile
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastdiff.core.errors import FastdiffError
from fastdiff.core.prediction import ROWS, TIME_INPUTS
from fastdiff.core.schedule import SCHEDULES
from fastdiff.data.toys import TOYS
from fastdiff.methods import METHODS
from fastdiff.methods.distances import DISTANCES
from fastdiff.methods.time_sampling import TIME_LAWS
from fastdiff.runs import run as stages
from fastdiff.runs.recipe import build
from fastdiff.runs.recipe_file import read
from fastdiff.samplers import SAMPLERS, SPACINGS
from fastdiff.training.loop import TrainConfig

ROOT = Path(__file__).parents[2]
SHIPPED = [read(path) for path in sorted((ROOT / "recipes").rglob("*.yaml"))]
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
        assert any(
            line.startswith(path) and re.match(r"[.: =]", line[len(path) :]) for path in known if path
        ), line
        return line
    return None


def examples(count):
    """The same ones every time, without a clock: CI does not fail by chance. A search takes more of them, at random."""
    more = int(os.environ.get("FASTDIFF_EXAMPLES", 0))
    return settings(
        max_examples=more or count,
        derandomize=not more,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@examples(200)
@given(mutated())
def test_a_mutated_recipe_builds_or_is_refused_by_a_key(recipes):
    original, source = recipes
    told(source, original)


# ---- what builds runs


def in_full(registry, value):
    """Something of a registry as a recipe would write it, with all of its options."""
    name = next(name for name, kind in registry.items() if type(value) is kind)
    options = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
    return {
        "name": name,
        **{
            key: in_full(option.registry, option)
            if hasattr(option, "registry")
            else option.model_dump(mode="json")
            if hasattr(option, "model_dump")
            else list(option)
            if isinstance(option, tuple)
            else option
            for key, option in options.items()
        },
    }


def tiny(method, schedule="cosine"):
    """A recipe of a teacher, pairs and a student, of a few steps, in which every setting is spelled out."""
    train = {
        f.name: list(f.default) if isinstance(f.default, tuple) else f.default for f in fields(TrainConfig)
    }
    bench = {
        "steps": [1],
        "baselines": ["ddim:1"],
        "samplers": ["ddim"],
        "spacings": ["uniform"],
        "guidance": [1.0],
        "n": 4,
        "seeds": [0],
        "batch": 4,
        "clip": 3.0,
        "metrics": ["energy"],
        "budget": "10m",
        "models": ["student"],
    }
    student = {
        "method": in_full(METHODS, METHODS[method]()),
        "teacher": "teacher",
        "data": "pairs",
        "train": {"lr": 1e-3},
    }
    if not METHODS[method].paired:
        del student["data"]
    return {
        "name": "tiny",
        "data": {"name": "toy", "kind": "moons", "n": 16, "seed": 0},
        "model": {
            "net": {"name": "mlp", "width": 8, "depth": 1, "learned_variance": False},
            "predicts": "v",
            "schedule": in_full(SCHEDULES, SCHEDULES[schedule]()),
            "time_input": "timestep",
            "sigma_data": 1.0,
            "scale_input": False,
            "labels": False,
        },
        "train": train | {"steps": 2, "batch": 4, "log_every": 1},
        "stages": {
            "teacher": {"method": in_full(METHODS, METHODS["denoising"]())},
            "pairs": {
                "pairs": {"n": 4, "sampler": "ddim", "steps": 1, "spacing": "uniform", "seed": 0},
                "teacher": "teacher",
            },
            "student": student,
        },
        "bench": bench,
    }


GUIDED = ("guided", "lcm", "tcd", "pcm")  # they need labels
TINY = [
    tiny(method, schedule)
    for method, schedule in zip(
        [name for name in METHODS if name not in ("tcm", *GUIDED)], itertools.cycle(SCHEDULES)
    )
]


@st.composite
def changed(draw):
    """A tiny recipe, one value of which is another."""
    source = copy.deepcopy(draw(st.sampled_from(TINY)))
    *above, key = draw(st.sampled_from(list(places(source))))
    holder = at(source, above)
    number = isinstance(holder[key], int | float) and not isinstance(holder[key], bool)
    names = sorted(
        {*METHODS, *SCHEDULES, *TIME_LAWS, *DISTANCES, *SAMPLERS, *SPACINGS, *ROWS, *TIME_INPUTS, *TOYS}
    )
    alike = (
        st.sampled_from(EXTREMES)
        if number
        else st.booleans()
        if isinstance(holder[key], bool)
        else st.sampled_from(names)
        if isinstance(holder[key], str)
        else VALUES
    )
    holder[key] = draw(st.one_of(alike, alike, VALUES))
    return source


def ran(source, folder):
    """Whether a recipe ran; False where it was refused."""
    try:
        recipe = build(source)
        short = tuple(
            replace(stage, train=replace(stage.train, steps=min(2, stage.train.steps)))
            for stage in recipe.stages
        )
        stages.run(replace(recipe, stages=short), folder)
    except FastdiffError as error:
        assert "\n" not in str(error)
        return False
    return True


@pytest.mark.parametrize(
    "source", [TINY[0], TINY[-1]], ids=lambda source: source["stages"]["student"]["method"]["name"]
)
def test_the_tiny_recipes_themselves_run(source, tmp_path):
    assert ran(source, tmp_path / "run")


@examples(25)
@given(changed())
def test_what_builds_runs_or_is_refused(source):
    with tempfile.TemporaryDirectory() as folder:
        ran(source, Path(folder) / "run")
