"""The sum of rows says how sure a figure is."""

import json
import math
import statistics

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.evaluation.metric_names import better
from fastdiff.evaluation.summary import Row, metric_of, metrics_of, summary
from tests.helpers.rows import row


def test_a_row_prints_as_one_line_and_is_the_same_json():
    plain = {
        "model": "teacher",
        "sampler": "ddim",
        "spacing": "uniform",
        "steps": 4,
        "guidance": 1.0,
        "n": 512,
    }
    measured = plain | {"fd_digits": 3.89, "fd_digits_inf": 3.7, "recall_digits": 0.5}
    assert str(Row(measured)) == "teacher · ddim · 4 steps · fd_digits 3.89 · 512 samples"
    guided = plain | {"spacing": "karras", "steps": 1, "guidance": 2.0, "energy": 0.4, "energy_se": 0.01}
    assert repr(Row(guided)) == "teacher · ddim · karras · 1 step · w=2 · energy 0.400 ± 0.020 · 512 samples"
    assert str(Row(plain | {"energy": math.inf})).endswith("energy diverged · 512 samples")
    assert str(Row(plain)) == "teacher · ddim · 4 steps · 512 samples" and str(Row()) == "{}"
    assert json.dumps(Row(measured)) == json.dumps(measured) and Row(measured) == measured


def test_metrics_are_found_by_family_the_main_one_first():
    rows = [
        row(recall_a=0.5, kd_a=0.1, kd_a_se=0.01, fd_b=3.0, fd_b_inf=2.0),
        row(seed=1, nearest_a=1.0, fd_a=2.0),
    ]
    assert metrics_of(rows) == ["fd_b", "fd_a", "kd_a", "recall_a", "nearest_a"]
    assert metrics_of([row(fd_a=1.0, fid=2.0, fid_inf=1.0, energy=None)]) == ["fid", "fd_a"]
    assert metrics_of([row(swd=1.0, energy=2.0)]) == ["energy", "swd"]
    assert [better(name) for name in ("fid", "kd_digits", "is", "precision_inception")] == ["lower"] * 2 + [
        "higher"
    ] * 2
    with pytest.raises(FastdiffError, match="no metric"):
        metric_of([row(recall_a=1.0)])


def test_the_interval_is_students_over_seeds():
    values = (10.0, 13.0, 19.0)
    [group] = summary([row(seed=seed, fd_a=value, fd_a_inf=value - 1) for seed, value in enumerate(values)])
    half = (
        4.302652729911275 * statistics.stdev(values) / math.sqrt(3)
    )  # t of two degrees of freedom, from a table
    assert group["fd_a_ci"] == pytest.approx(half, rel=1e-9)
    assert (group["fd_a"], group["fd_a_min"], group["fd_a_inf"]) == (14.0, 10.0, 13.0)
    assert group["figure"] == group["figures"]["fd_a"] == f"14.0 ± {half:.1f}"


def test_one_seed_has_the_interval_of_its_standard_error_or_none():
    [group] = summary([row(fd_a=4.0, kd_a=0.5, kd_a_se=0.1)])
    assert group["kd_a_ci"] == pytest.approx(0.196) and group["figures"]["kd_a"] == "0.500 ± 0.196"
    assert group["fd_a_ci"] is None and group["figures"]["fd_a"] == "4.00"


def test_a_seed_that_diverged_is_not_averaged_away():
    rows = [row(seed=0, fd_a=4.0), row(seed=1, fd_a=math.inf, broken=[17, 3])]
    [group] = summary(rows)
    assert (group["figure"], group["fd_a_ci"], group["fd_a_min"]) == ("diverged", None, 4.0)
    assert group["broken"] == ["sample 17 of seed 1", "sample 3 of seed 1"]


def test_costs_are_averaged_over_seeds():
    [group] = summary(
        [row(seed=i, energy=1.0, ms_per_image=v, peak_mb=10 * v) for i, v in enumerate((1.0, 3.0))]
    )
    assert (group["ms_per_image"], group["peak_mb"], group["flops_per_image"]) == (2.0, 20.0, None)
