"""Fixtures of the samplers: a network, and models."""

import pytest
import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Cosine, Flow
from fastdiff.networks import mlp
from fastdiff.networks.oracle import GaussianMixture


@pytest.fixture(scope="module")
def net64():
    """The small network of three numbers in float64."""
    torch.manual_seed(0)
    net = mlp((3,), width=16, depth=1).double()
    torch.nn.init.normal_(net.last.weight, std=0.2)
    return net.requires_grad_(False)


@pytest.fixture(scope="module")
def labelled():
    torch.manual_seed(0)
    net = mlp((2,), 3, width=16, depth=1)
    nn.init.normal_(net.last.weight)
    return Denoiser(net.requires_grad_(False), Flow(), "velocity", (2,), time_input="thousand")


@pytest.fixture
def oracle():
    return GaussianMixture(torch.randn(3, 2), torch.full((3,), 0.1), torch.ones(3), Cosine())
