"""The search command."""

import json
import shutil

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import Cosine
from fastdiff.io.export.model import export
from fastdiff.networks import unet
from tests.helpers.paths import ROOT


def test_search_stores_what_it_finds(points, fastdiff, tmp_path):
    student = tmp_path / "run" / "student"
    shutil.copytree(points / "consistency", student)
    code, out, err = fastdiff("search", student, "--steps", 2, "--data", "toy", "--n", 64, "--rounds", 1)
    assert code == 0 and f"stored with {student}" in out
    (times,) = json.loads((student / "fastdiff.json").read_text())["sampling"]["times"]
    assert len(times) == 2 and times[0] > times[1] > 0
    assert len(err.splitlines()) >= 1


def test_search_on_pictures_of_another_size_and_colour(colourful, fastdiff, refused, tmp_path):
    torch.manual_seed(0)
    student = tmp_path / "run" / "student"
    student.mkdir(parents=True)
    sampling = Sampling("consistency", "uniform", (1, 2))
    net = unet((1, 8, 8), channels=(8,), layers=1)
    model = Denoiser(net, Cosine(), "v", (1, 8, 8), sampling=sampling)
    export(model, student, {"method": "ect", "origin": {}, "ema": 0.0, "cost": {}})
    words = ["search", student, "--n", 16, "--rounds", 1, "--data", colourful]
    words += ["--extractor", "checkpoints/digits/features"]
    assert "have (3, 16, 16)" in refused(*words)
    assert "have (3, 8, 8)" in refused(*words, "--resolution", 8)
    code, out, err = fastdiff(*words, "--resolution", 8, "--colour", "grey")
    assert code == 0 and f"stored with {student}" in out, err


def test_search_of_a_model_of_prompts(fastdiff, refused, tmp_path):
    pytest.importorskip("transformers")
    student = tmp_path / "run" / "lcm"
    shutil.copytree(ROOT / "checkpoints/digits-latent/lcm", student)
    words = ["search", student, "--n", 8, "--rounds", 1, "--extractor", "checkpoints/digits/features"]
    assert "needs prompts, but the data digits have no captions: set `captions`" in refused(*words)
    code, out, err = fastdiff(*words, "--captions", "the digit {class}")
    assert code == 0 and f"stored with {student}" in out, err


def test_search_asks_for_a_writable_model_before_it_searches(points, refused, tmp_path, monkeypatch):
    student = tmp_path / "student"
    shutil.copytree(points / "consistency", student)
    monkeypatch.setattr("fastdiff.samplers.time_search.search_times", None)

    def refusing(path, *args, **options):
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr("pathlib.Path.touch", refusing)
    line = refused("search", student, "--steps", 2, "--data", "toy", "--n", 64)
    assert f"{student} cannot be written (Read-only file system); make it writable" in line
