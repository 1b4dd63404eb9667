"""A run in sum: means over seeds, order."""

import statistics

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.evaluation.summary import metric_of, summary
from tests.helpers.reported import plausible, row


def test_seeds_become_mean_and_interval():
    [group] = summary(
        [row("consistency", "consistency", 2, v, seed) for seed, v in enumerate((10.0, 13.0, 19.0))]
    )
    assert group["seeds"] == [0, 1, 2]
    assert group["fd_digits"] == 14.0
    assert group["fd_digits_std"] == pytest.approx(statistics.stdev((10, 13, 19)))
    assert group["figure"] == "14.0 ± 11.4"  # 4.30 times the standard error
    assert summary([row("consistency", "consistency", 2, 10.0)])[0]["figure"] == "10.0"


def test_teachers_come_first_then_students_by_nfe():
    order = [(g["line"], g["steps"]) for g in summary(plausible())]
    assert order == [
        *[("teacher ddim", s) for s in (1, 2, 4, 8, 50)],
        ("teacher ddpm", 1000),
        *[("teacher dpmpp_2m", s) for s in (4, 8)],
        *[(line, s) for line in ("progressive", "consistency", "distilled") for s in (1, 2, 4, 8)],
    ]


def test_rows_of_a_former_generation_are_left_out():
    old = [
        row("distilled", "consistency", 1, 90.0, seed, weights="old", key=f"old-{seed}") for seed in (0, 1, 2)
    ]
    new = [row("distilled", "consistency", 1, 30.0, seed, weights="new") for seed in (0, 1)]
    [group] = summary([*old, *new])
    assert (group["fd_digits"], group["seeds"]) == (30.0, [0, 1])


def test_what_tells_kin_apart_is_named():
    rows = [
        row("teacher", "heun", 4, 50.0),
        row("teacher", "heun", 4, 40.0, spacing="karras"),
        row("teacher", "ddim", 4, 60.0),
    ]
    rows += [row("distilled", "consistency", 4, 20.0), row("distilled", "consistency", 4, 18.0, guidance=2.0)]
    lines = [g["line"] for g in summary(rows)]
    assert sorted(lines) == [
        "distilled consistency",
        "distilled consistency w=2",
        "teacher ddim",
        "teacher heun karras",
        "teacher heun uniform",
    ]


def test_fid_goes_before_features_of_ones_own_and_energy_last():
    assert metric_of([{"energy": 1.0}, {"fd_b": 1.0, "fid": 2.0}]) == "fid"
    assert metric_of([{"energy": 1.0, "fd_b": 1.0, "fid": None}]) == "fd_b"
    assert metric_of([{"energy": 1.0}]) == "energy"
    with pytest.raises(FastdiffError, match="no metric"):
        metric_of([{"model": "teacher"}])
