"""Fixtures of the models on disk: a tiny one, and copies to be tampered with."""

import shutil

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Cosine
from fastdiff.io.export.model import export
from fastdiff.networks import unet
from tests.helpers.stock_pipelines import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    export(tiny(), folder, {"method": "denoising"})
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny model of 8 x 8 images."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("trained")
    export(
        Denoiser(unet((1, 8, 8), channels=(8,), layers=1), Cosine(), "v", (1, 8, 8)),
        folder,
        {"method": "denoising", "origin": {}, "ema": 0.0, "cost": {}},
    )
    return folder


@pytest.fixture
def model(trained, tmp_path):
    """A copy to be tampered with."""
    return shutil.copytree(trained, tmp_path / "model")


@pytest.fixture
def plain(model):
    """The same as diffusers alone would have written it."""
    (model / "fastdiff.json").unlink()
    return model
