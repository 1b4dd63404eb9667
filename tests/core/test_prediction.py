"""Combinations of a prediction's x0 and eps, which cost no more than the network's output."""

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.guidance import Guided
from fastdiff.core.network import Network
from fastdiff.core.prediction import Prediction
from fastdiff.core.schedule import DDPM, Cosine, Flow


class Halved(Network):
    """A network whose output is half of its input."""

    def forward(self, x, t, s=None, cond=None):
        return x / 2


@pytest.fixture
def x():
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize(
    ("schedule", "predicts"), [(Cosine(), "v"), (Flow(), "velocity"), (DDPM(), "eps"), (Cosine(), "x0")]
)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_a_combination_is_that_of_x0_and_eps(schedule, predicts, clip, x):
    model = Denoiser(Halved(), schedule, predicts, (3,))
    t = torch.tensor(0.6 * schedule.t_max, dtype=torch.float64)
    p = Guided(model, clip=clip)(x, t, t)
    for a, b in ((0.3, 0.7), (1.0, 0.0), (0.0, 1.0)):
        torch.testing.assert_close(p.combine(x0=a, eps=b), a * p.x0 + b * p.eps, rtol=1e-12, atol=1e-12)


def test_a_combination_at_known_levels_computes_no_eps(x):
    def never():
        raise AssertionError("eps was computed")

    p = Prediction(x, x / 2, never, levels=(0.6, 0.8))
    torch.testing.assert_close(p.combine(x0=0.3, eps=0.4), 0.3 * x / 2 + 0.4 * (x - 0.6 * x / 2) / 0.8)


def test_a_combination_without_levels_takes_the_eps_that_is_given(x):
    p = Prediction(x, x / 2, torch.ones_like(x))
    torch.testing.assert_close(p.combine(x0=2.0, eps=3.0), x + 3)
