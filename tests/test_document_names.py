"""Every setting and every registered name is on the page where it is looked for."""

import inspect
import re
from dataclasses import fields

import pytest

import fastdiff
from fastdiff.evaluation.metrics import METRICS
from fastdiff.methods.distances import DISTANCES
from fastdiff.methods.time_sampling import IMPORTANCE_DISTRIBUTIONS, TIME_DISTRIBUTIONS
from fastdiff.networks import NETWORKS, PRESETS
from fastdiff.networks.lora import Lora
from fastdiff.runs.model_config import ModelSpec
from fastdiff.runs.recipe import RecipeSpec
from fastdiff.runs.stage_config import StageSpec
from fastdiff.samplers import SPACINGS
from fastdiff.training.config import RoleConfig, TrainConfig
from fastdiff.training.method import Teachable
from fastdiff.training.pairs import Pairs
from tests.helpers.documents import Page

RECIPES, SAMPLERS, METHODS, EVALUATION = (
    Page(name)
    for name in (
        "recipes/README.md",
        "fastdiff/samplers/README.md",
        "fastdiff/methods/README.md",
        "fastdiff/evaluation/README.md",
    )
)


def named(page: Page) -> set[str]:
    """Words in inline code, and the whole of each."""
    return {word for code in page.inline() for word in (code, *re.findall(r"[\w/-]+", code))}


def options(registry, skip=()) -> set[str]:
    return {name for entry in registry.values() for name in inspect.signature(entry).parameters} - set(skip)


@pytest.mark.parametrize(
    "page, names",
    [
        (RECIPES, {f"train.{field.name}" for field in fields(TrainConfig)}),
        (RECIPES, {f"bench.{field.name}" for field in fields(fastdiff.BenchConfig)}),
        (RECIPES, {*RecipeSpec.model_fields, *StageSpec.model_fields, *ModelSpec.model_fields}),
        (RECIPES, {*RoleConfig.model_fields, *Lora.model_fields, *(field.name for field in fields(Pairs))}),
        (RECIPES, {*NETWORKS, *options(NETWORKS, ("shape", "classes")), *PRESETS}),
        (RECIPES, {*fastdiff.DATASETS, *options(fastdiff.DATASETS)}),
        (
            RECIPES,
            {*fastdiff.METHODS, *(field.name for m in fastdiff.METHODS.values() for field in fields(m))},
        ),
        (RECIPES, {*DISTANCES, *TIME_DISTRIBUTIONS, *IMPORTANCE_DISTRIBUTIONS}),
        (METHODS, set(fastdiff.METHODS)),
        (METHODS, {name for name in vars(Teachable) if not name.startswith("_")}),
        (SAMPLERS, {*fastdiff.SAMPLERS, *options(fastdiff.SAMPLERS, ("denoise", "x", "times", "randn"))}),
        (SAMPLERS, {*SPACINGS, *fastdiff.SCHEDULES, *options(fastdiff.SCHEDULES)}),
        (EVALUATION, {*METRICS, "nll"}),
    ],
    ids=lambda value: value.name if isinstance(value, Page) else min(value),
)
def test_every_name_is_on_its_page(page, names):
    assert names - named(page) == set()
