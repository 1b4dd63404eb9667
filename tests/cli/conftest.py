"""Fixtures of the command line: a finished run, and tiny models."""

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import Cosine
from fastdiff.io.export.model import export
from fastdiff.networks import mlp, unet
from tests.helpers.commands import RECIPE


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A recipe and the directory of its finished run."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.yaml").write_text("# A tiny run.\n" + yaml.safe_dump(RECIPE))
    from fastdiff.runs import recipe
    from fastdiff.runs import run as stages

    stages.run(recipe.load(folder / "tiny.yaml"), folder / "checkpoints/tiny")
    return folder / "tiny.yaml", folder / "checkpoints/tiny"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A tiny model of labelled 8 x 8 images, meant for DDIM at 2 steps alone."""
    folder = tmp_path_factory.mktemp("images")
    net = unet((1, 8, 8), 10, channels=(8,), layers=1)
    model = Denoiser(net, Cosine(), "v", (1, 8, 8), sampling=Sampling("ddim", "uniform", (2, 3), only=True))
    export(model, folder, {"method": "progressive", "origin": {}, "ema": 0.0, "cost": {}})
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A tiny untrained model of 8 x 8 images."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("images")
    export(
        Denoiser(unet((1, 8, 8), channels=(8,), layers=1), Cosine(), "v", (1, 8, 8)),
        folder,
        {"method": "denoising", "origin": {}, "ema": 0.0, "cost": {}},
    )
    return folder


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    """Tiny untrained models of points: a teacher and a student."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("points")
    for name, sampling in (
        ("teacher", Sampling()),
        ("consistency", Sampling("consistency", "uniform", (1, 2))),
    ):
        (folder / name).mkdir()
        net = mlp((2,), width=16, depth=1)
        torch.nn.init.normal_(net.last.weight, std=0.3)
        export(
            Denoiser(net, Cosine(), "v", (2,), sampling=sampling),
            folder / name,
            {"method": name, "origin": {}, "ema": 0.0, "cost": {}},
        )
    return folder


@pytest.fixture(scope="module")
def colourful(tmp_path_factory):
    """A folder of 20 colour pictures of 16 x 16."""
    folder = tmp_path_factory.mktemp("colourful")
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder
