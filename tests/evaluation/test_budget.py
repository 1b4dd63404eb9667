"""The time a sweep may take."""

import json
import time

import pytest

from fastdiff.evaluation.config import BenchConfig
from fastdiff.evaluation.sweep import sweep


def test_budgets_are_read():
    assert [BenchConfig(budget=text).seconds for text in ("90s", "1.5m", "2h", None)] == [
        90,
        90,
        7200,
        float("inf"),
    ]


@pytest.mark.alone
@pytest.mark.long
def test_a_budget_leaves_out_what_would_exceed_it_and_says_so(models, toy, tmp_path):
    config = BenchConfig(steps=(1, 2), baselines=("ddpm:500000",), n=12, budget="20s")
    began = time.monotonic()
    rows = list(sweep(models, toy, config, tmp_path / "out", teacher="teacher"))
    assert {row["cell"] for row in rows} == {
        "teacher-ddim-uniform-1",
        "teacher-ddim-uniform-2",
        "halved-ddim-uniform-2",
    }
    assert time.monotonic() - began < 20
    left = json.loads((tmp_path / "out/left-out.json").read_text())
    assert left == ["teacher-ddpm-uniform-500000 seed 0"]
    list(
        sweep(models, toy, BenchConfig(steps=(1, 2), baselines=(), n=12), tmp_path / "out", teacher="teacher")
    )
    assert not (tmp_path / "out/left-out.json").exists()
