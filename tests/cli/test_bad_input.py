"""Whatever a user gets wrong is said in one line that names the thing and what to do, with exit code 2."""

import os
import re
import subprocess
import sys

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Cosine
from fastdiff.io.export.model import export
from fastdiff.networks import mlp, unet
from tests.helpers.bad_input import CASES, REAL, RECIPE
from tests.helpers.paths import ROOT


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Tiny untrained models: of points, of images, of images with labels."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    for name, net, shape in (
        ("points", mlp((2,), width=8, depth=1), (2,)),
        ("images", unet((1, 8, 8), channels=(8,), layers=1), (1, 8, 8)),
        ("labels", unet((1, 8, 8), 10, channels=(8,), layers=1), (1, 8, 8)),
    ):
        (folder / name).mkdir()
        export(
            Denoiser(net, Cosine(), "v", shape),
            folder / name,
            {"method": "denoising", "origin": {}, "ema": 0.0, "cost": {}},
        )
    return folder


@pytest.fixture
def place(tmp_path, models, monkeypatch):
    """A working directory with models, a recipe, an image, and things that are none of these."""
    for name in ("points", "images", "labels"):
        (tmp_path / name).symlink_to(models / name)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "file.txt").write_text("hello")
    for name in ("empty", "pictures", "run", "rows"):
        (tmp_path / name).mkdir()
    (tmp_path / "run/recipe.yaml").write_text(RECIPE)
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(tmp_path / "pictures/a.png")
    monkeypatch.chdir(tmp_path)
    for module in (huggingface_hub.constants, datasets.config):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", True)
    return tmp_path


def refusal(message, line):
    """Whether a line is the one that is expected."""
    return (
        bool(re.search(message, line))
        and line.startswith("fastdiff: ")
        and line.count("\n") == 1
        and len(line) < 700
    )


@pytest.mark.parametrize(("line", "files", "message"), CASES)
def test_bad_input(line, files, message, place, refused):
    for name, text in files.items():
        (place / name).write_text(text)
    found = refused(*line.split(" "))
    assert refusal(message, found), found


@pytest.mark.long
@pytest.mark.parametrize(("line", "files", "message"), [case for case in CASES if case.id in REAL])
def test_bad_input_of_real_commands(line, files, message, place):
    for name, text in files.items():
        (place / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "fastdiff", *line.split(" ")],
        text=True,
        capture_output=True,
        cwd=place,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout) == (2, "") and refusal(message, done.stderr), done.stderr


def test_there_are_many():
    assert (
        len(CASES) >= 90
        and len({case.id for case in CASES}) == len(CASES)
        and {case.id for case in CASES} >= set(REAL)
    )
