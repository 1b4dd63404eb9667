"""One cell: its pictures, its memory, what judging costs, and a broken sample."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Cosine
from fastdiff.data.registry import open_dataset
from fastdiff.evaluation import evaluator, opening
from fastdiff.evaluation.config import BenchConfig
from fastdiff.evaluation.rows import read_rows
from fastdiff.evaluation.sweep import sweep
from fastdiff.networks import unet
from tests.helpers.paths import ROOT
from tests.helpers.swept import model, stored


def test_pictures_are_of_one_noise_whatever_the_seeds(models, toy, tmp_path):
    config = {"steps": (1,), "baselines": (), "n": 12}
    for seeds, out in (((0,), "a"), ((1, 2), "b")):
        list(sweep(models, toy, BenchConfig(seeds=seeds, **config), tmp_path / out, teacher="teacher"))
    names = sorted(path.name for path in (tmp_path / "a/samples").iterdir())
    assert len(names) > 1
    for name in names:
        a, b = (np.asarray(Image.open(tmp_path / out / "samples" / name)).astype(int) for out in "ab")
        assert np.abs(a - b).max() <= 1, name


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
    line = json.loads((tmp_path / "out/bench.jsonl").read_text(), parse_constant=pytest.fail)  # strict JSON
    assert line["energy"] is None and read_rows(tmp_path / "out/bench.jsonl")[0]["energy"] == float("inf")


def test_pictures_that_are_kept(tmp_path):
    torch.manual_seed(0)
    digits = open_dataset("digits")
    net = unet((1, 8, 8), channels=(8,), layers=1)
    torch.nn.init.normal_(net.module.conv_out.weight)
    path = stored(tmp_path / "teacher", Denoiser(net, Cosine(), "v", (1, 8, 8)).eval(), "denoising")
    config = BenchConfig(steps=(1, 3), baselines=("ddim:20",), n=100, batch=30)
    list(sweep({"teacher": path}, digits, config, tmp_path, teacher="teacher"))
    opened = {p.relative_to(tmp_path): Image.open(p) for p in tmp_path.glob("*/*.png")}
    sizes = {str(p): image.size for p, image in opened.items()}
    assert sizes == {
        "samples/real.png": (128, 32),
        **{f"samples/teacher-ddim-uniform-{k}.png": (128, 32) for k in (1, 3, 20)},
        "trajectory/teacher-ddim-uniform-3.png": (24, 64),
        "trajectory/teacher-ddim-uniform-20.png": (80, 64),
    }
    sheet, way = (
        np.asarray(opened[Path(f"{kind}/teacher-ddim-uniform-20.png")]) for kind in ("samples", "trajectory")
    )
    for i in range(8):  # the way ends at the sheet's sample
        assert (
            np.abs(sheet[:8, 8 * i : 8 * i + 8].astype(int) - way[8 * i : 8 * i + 8, 72:].astype(int)).max()
            <= 1
        )
    real = np.asarray(opened[Path("samples/real.png")])
    assert np.array_equal(real[8:16, :8], digits.examples[16, 0].numpy())


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
        for n in (2000, 20_000)
    )
    assert many < 1.1 * few


@pytest.mark.alone
def test_judging_costs_little_beside_sampling(tmp_path):
    """Under 5 % of DDIM at 50 steps, of the shipped digits teacher in digit features."""
    path, digits = ROOT / "checkpoints/digits/teacher", open_dataset("digits")
    judging = []

    class Timed(evaluator.Evaluator):
        def add(self, *args):
            began = time.perf_counter()
            super().add(*args)
            judging.append(time.perf_counter() - began)

        def result(self, accelerator):
            began = time.perf_counter()
            found = super().result(accelerator)
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
