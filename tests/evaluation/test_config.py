"""Cells of a benchmark, and baselines and settings that are none."""

from types import SimpleNamespace

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.core.sampling import Sampling
from fastdiff.evaluation.config import BenchConfig, Cell, baseline, cells
from tests.helpers.swept import CONFIG, model


def test_cells_are_the_teachers_baselines_and_the_students_cheap_ones_first():
    free = model(sampling=Sampling("consistency", "uniform", (1, 2)))
    models = {"free": free, "teacher": model(), "only": model(sampling=Sampling(steps=(2, 4), only=True))}
    assert cells(models, "teacher", CONFIG) == [
        Cell("teacher", "ddim", "uniform", 1),
        Cell("free", "consistency", "uniform", 1),
        Cell("teacher", "ddim", "uniform", 2),
        Cell("teacher", "dpmpp_2m", "karras", 2),
        Cell("free", "consistency", "uniform", 2),
        Cell("only", "ddim", "uniform", 2),
        Cell("teacher", "ddpm", "uniform", 3),
        Cell("only", "ddim", "uniform", 4),
    ]
    assert [cell.model for cell in cells(models, None, CONFIG)] == [
        "free",
        "teacher",
        "free",
        "teacher",
        "only",
        "only",
    ]
    chosen = cells(models, "teacher", BenchConfig(steps=(1,), baselines=("ddim:1",), models=("only", "free")))
    assert [str(cell) for cell in chosen] == [
        "teacher-ddim-uniform-1",
        "free-consistency-uniform-1",
        "only-ddim-uniform-2",
        "only-ddim-uniform-4",
    ]


def test_baselines():
    assert baseline("ddpm:1000") == (("ddpm", "uniform", 1000), None)
    assert baseline("dpmpp_2m/karras:8") == (("dpmpp_2m", "karras", 8), None)
    assert baseline("ddpm:1000@512") == (("ddpm", "uniform", 1000), 512)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ddpm",
        "ddpm:",
        "ddpm:0",
        "ddpm:-1",
        "ddpm:1.5",
        "ddpm:²",
        "dpm:5",
        "ddpm/cubic:5",
        ":5",
        "ddpm/:x",
        "ddpm:5:5",
        "ddpm:5@",
        "ddpm:5@1",
        "ddpm:5@x",
        "ddpm@9:5",
    ],
)
def test_bad_baselines(text):
    with pytest.raises(FastdiffError, match="^bench.baselines: .*(expected sampler:steps or|is unknown)"):
        BenchConfig(baselines=(text,))


@pytest.mark.parametrize(
    "name, value", [("n", 1), ("batch", 0), ("steps", ()), ("steps", (1, 0)), ("seeds", ()), ("clip", 0.0)]
)
def test_bad_settings(name, value):
    with pytest.raises(FastdiffError, match=f"^bench.{name} = "):
        BenchConfig(**{name: value})


@pytest.mark.parametrize(
    "ranges, weights",
    [
        ({"teacher": None, "student": (3.0, 15.0)}, {"teacher": [3.0], "student": [3.0]}),
        ({"teacher": None, "a": None, "b": (2.0, 4.0)}, {"teacher": [1.0, 2.0], "a": [1.0], "b": [2.0]}),
        ({"teacher": (1.0, 2.0), "student": (3.0, 4.0)}, {"teacher": [1.0], "student": [3.0]}),
        ({"teacher": (2.0, 4.0)}, {"teacher": [2.0]}),
    ],
)
def test_guidance_is_within_every_range_by_default(ranges, weights):
    models = {
        name: SimpleNamespace(guidance=low_high, text=True, null_label=None, sampling=Sampling())
        for name, low_high in ranges.items()
    }
    found = cells(models, "teacher", BenchConfig(steps=(1,), baselines=()))
    assert {name: sorted(c.guidance for c in found if c.model == name) for name in models} == weights
