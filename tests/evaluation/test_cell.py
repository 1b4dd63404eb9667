"""One cell: its memory, what judging costs, and a broken sample."""

import json
import subprocess
import sys
import time

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Cosine
from fastdiff.data.registry import open_dataset
from fastdiff.evaluation import evaluator, opening
from fastdiff.evaluation.config import BenchConfig
from fastdiff.evaluation.sweep import sweep
from fastdiff.networks import unet
from tests.helpers.paths import ROOT
from tests.helpers.rows import model_rows
from tests.helpers.swept import model, stored


def test_a_broken_sample_stands_in_the_row(toy, tmp_path):
    broken = model()
    with torch.no_grad():
        broken.net.last.bias += float("nan")
    [row] = sweep(
        {"teacher": stored(tmp_path / "nan", broken, "denoising")},
        toy,
        BenchConfig(steps=(1,), baselines=(), n=12),
        tmp_path / "out",
        teacher="teacher",
    )
    assert row["broken"] == list(range(10)) and row["energy"] == float("inf")
    *_, last = (tmp_path / "out/bench.jsonl").read_text().splitlines()
    line = json.loads(last, parse_constant=pytest.fail)  # strict JSON
    assert line["energy"] is None and model_rows(tmp_path / "out")[0]["energy"] == float("inf")


MEMORY = """
import sys, torch
from fastdiff.evaluation.config import BenchConfig
from fastdiff.evaluation.sweep import sweep
from fastdiff.data.registry import open_dataset
torch.set_num_threads(1)
config = BenchConfig(steps=(2,), baselines=(), n=int(sys.argv[1]), batch=256)
[row] = sweep({"teacher": sys.argv[2]}, open_dataset("digits"), config, sys.argv[3], teacher="teacher")
print(row["peak_mb"])
"""


@pytest.mark.long
def test_memory_does_not_grow_with_n(tmp_path):
    torch.manual_seed(0)
    net = Denoiser(unet((1, 8, 8), channels=(8,), layers=1), Cosine(), "v", (1, 8, 8)).eval()
    path = stored(tmp_path / "teacher", net, "denoising")
    few, many = (
        float(
            subprocess.run(
                [sys.executable, "-c", MEMORY, str(n), path, tmp_path / str(n)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for n in (1000, 10_000)
    )
    assert many < 1.1 * few


@pytest.mark.alone
@pytest.mark.long
def test_judging_costs_little_beside_sampling(tmp_path):
    """Under 5 % of DDIM at 50 steps, of the shipped digits teacher in digit features."""
    path, digits = ROOT / "checkpoints/digits/teacher", open_dataset("digits")
    judging = []

    class Timed(evaluator.Evaluator):
        def add(self, *args):
            began = time.perf_counter()
            super().add(*args)
            judging.append(time.perf_counter() - began)

        def result(self, accelerator, **options):
            began = time.perf_counter()
            found = super().result(accelerator, **options)
            judging.append(time.perf_counter() - began)
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "Evaluator", Timed)
        list(
            sweep(
                {"teacher": path},
                digits,
                BenchConfig(steps=(1,), baselines=(), n=512),
                tmp_path,
                teacher="teacher",
            )
        )
        judging.clear()
        [_, row] = sweep(
            {"teacher": path},
            digits,
            BenchConfig(steps=(1,), baselines=("ddim:50",), n=512),
            tmp_path,
            teacher="teacher",
        )
    assert sum(judging) < 0.05 * 512 / row["images_per_s"]
