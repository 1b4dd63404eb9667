"""Axes of a sweep, and metrics that are wished for later."""

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.core.sampling import Sampling
from fastdiff.evaluation.config import BenchConfig
from fastdiff.evaluation.rows import read_rows
from fastdiff.evaluation.summary import current_rows
from fastdiff.evaluation.sweep import cells, sweep
from tests.helpers.swept import model, stored


def test_samplers_spacings_and_guidance_are_axes(tmp_path):
    free = model(sampling=Sampling("consistency", "uniform", (1, 2)))
    models = {"teacher": model(), "free": free, "only": model(sampling=Sampling(steps=(2,), only=True))}
    config = BenchConfig(
        steps=(2,),
        samplers=("ddim", "heun"),
        spacings=("uniform", "karras"),
        guidance=(1, 3.0),
        baselines=("ddim:2", "ddpm:3"),
    )
    found = list(map(str, cells(models, "teacher", config)))
    grids = [f"{sampler}-{spacing}-2" for sampler in ("ddim", "heun") for spacing in ("uniform", "karras")]
    ways = [way for grid in grids for way in (grid, f"{grid}-w3")]
    assert sorted(found) == sorted(
        [f"teacher-{way}" for way in (*ways, "ddpm-uniform-3", "ddpm-uniform-3-w3")]
        + [f"free-{way}" for way in (*ways, "consistency-uniform-2", "consistency-uniform-2-w3")]
        + ["only-ddim-uniform-2", "only-ddim-uniform-2-w3"]
    )


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"samplers": ("ddin",)}, "bench.samplers: 'ddin' is unknown"),
        ({"spacings": ("cubic",)}, "bench.spacings: 'cubic' is unknown"),
        ({"guidance": ()}, "bench.guidance = "),
        ({"metrics": ("fid",)}, "bench.metrics: 'fid' is unknown, did you mean fd?"),
        ({"budget": "soon"}, "bench.budget = 'soon': expected a time such as 90s, 10m or 2h"),
        ({"budget": "10"}, "bench.budget"),
        ({"metrics": ("pr", "nll")}, "bench.metrics = .* expected a distance among them"),
    ],
)
def test_bad_axes_and_budgets(settings, message):
    with pytest.raises(FastdiffError, match=message):
        BenchConfig(**settings)


def test_metrics_asked_for_later_are_added_to_the_row(models, toy, tmp_path):
    def swept(*metrics):
        return list(
            sweep(
                models,
                toy,
                BenchConfig(steps=(1,), baselines=(), n=12, metrics=metrics or None),
                tmp_path,
                teacher="teacher",
            )
        )[0]

    energy = swept("energy")
    assert energy["metrics"] == ["energy"] and "swd" not in energy
    both = swept("swd")
    assert both["key"] == energy["key"] and both["metrics"] == ["energy", "swd"]
    assert both["energy"] == energy["energy"] and both["swd"] > 0
    assert swept("energy") == swept("swd") == both  # nothing is measured twice
    with_bits = swept("nll", "swd")
    assert with_bits["nll"] is not None and {**with_bits, "nll": None} == {**both, "nll": None}


def test_what_was_asked_for_last_is_what_a_report_shows(models, toy, tmp_path):
    """Rows read back count as new: of another network or other weights those measured since are passed over
    again."""

    def swept():
        config = BenchConfig(steps=(2,), baselines=(), n=12, models=("halved",))
        return [
            row
            for row in sweep(models, toy, config, tmp_path / "out", teacher="teacher")
            if row["model"] == "halved"
        ]

    def shown():
        return [
            row for row in current_rows(read_rows(tmp_path / "out/bench.jsonl")) if row["model"] == "halved"
        ]

    kept = {path: path.read_bytes() for path in models["halved"].rglob("*") if path.is_file()}
    old = swept()
    stored(models["halved"], model(7, Sampling("ddim", "uniform", (2,), only=True)), "progressive")
    new = swept()
    assert shown() == new and new[0]["key"] != old[0]["key"]
    for path, content in kept.items():  # the former weights return
        path.write_bytes(content)
    assert swept() == old == shown()
    lines = (tmp_path / "out/bench.jsonl").read_text().splitlines()
    assert swept() == old and (tmp_path / "out/bench.jsonl").read_text().splitlines() == lines
