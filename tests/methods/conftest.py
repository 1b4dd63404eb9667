"""Fixtures of the methods: models of the toy, from which students start."""

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Cosine
from fastdiff.methods import METHODS
from fastdiff.networks import mlp
from tests.helpers.consistency import denoiser
from tests.helpers.flow_maps import trained


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """Denoisers of the toy, from which students start: one told t in 0 to 1, one in a thousand ticks."""

    def start(clock):
        torch.manual_seed(0)
        model = Denoiser(mlp((2,), width=64), Cosine(), "v", (2,), time_input=clock)
        return trained(
            METHODS["denoising"](), model, tmp_path_factory.mktemp(clock), 600, lr=2e-3, lr_schedule="cosine"
        )

    return {clock: start(clock) for clock in ("time", "timestep")}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return denoiser(tmp_path_factory.mktemp("start"))


@pytest.fixture
def large_batches(monkeypatch):
    """The coverage of the data, which are not there, takes the square of a batch."""
    monkeypatch.setattr(
        "fastdiff.methods.distribution_matching.coverage", lambda real, made: torch.tensor(torch.nan)
    )
