"""Whatever is done to a recipe, it builds or is refused by one line with a key; and what builds runs,
or is refused."""

import copy
import itertools
import tempfile
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdiff.core.errors import FastdiffError
from fastdiff.core.prediction import PREDICTION_TYPES, TIME_INPUTS
from fastdiff.core.schedule import SCHEDULES
from fastdiff.data.toys import TOYS
from fastdiff.methods import METHODS
from fastdiff.methods.distances import DISTANCES
from fastdiff.methods.time_sampling import TIME_DISTRIBUTIONS
from fastdiff.runs import run as stages
from fastdiff.runs.recipe import build
from fastdiff.samplers import SAMPLERS, SPACINGS
from fastdiff.training.loop import TrainConfig
from tests.helpers.mutations import EXTREMES, VALUES, at, examples, mutated, places, told


@examples(200)
@given(mutated())
def test_a_mutated_recipe_builds_or_is_refused_by_a_key(recipes):
    original, source = recipes
    told(source, original)


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
    if not METHODS[method].needs_pairs:
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
        {
            *METHODS,
            *SCHEDULES,
            *TIME_DISTRIBUTIONS,
            *DISTANCES,
            *SAMPLERS,
            *SPACINGS,
            *PREDICTION_TYPES,
            *TIME_INPUTS,
            *TOYS,
        }
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


@pytest.mark.long
@examples(25)
@given(changed())
def test_what_builds_runs_or_is_refused(source):
    with tempfile.TemporaryDirectory() as folder:
        ran(source, Path(folder) / "run")
