"""Combinations of a prediction's x0 and eps, which cost no more than the network's output."""

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.guidance import Guided
from fastdiff.core.network import Network
from fastdiff.core.prediction import Prediction, Solution, rounded_time
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


def test_a_combination_takes_the_noise_that_is_kept():
    x, x0, eps, kept = (torch.full((1, 2), value) for value in (1.0, 2.0, 3.0, 5.0))
    p = Prediction(x, x0, eps, levels=(0.6, 0.8), kept=lambda: kept)
    assert torch.equal(p.combine(x0=2.0, eps=3.0), 2 * x0 + 3 * kept)
    assert torch.equal(p.eps, eps) and torch.equal(p.blend(1.0, 1.0), x + x0)


def test_network_times_are_rounded():
    at = Solution(1.0, 1.0, 1.0, 1.0, 1.0, 2.5000001, 1.0, 1.0)
    assert rounded_time(at, "nearest").network_time == 3 and rounded_time(at, "floor").network_time == 2
    assert rounded_time(at._replace(network_time=2.9999999), "floor").network_time == 3
    several = at._replace(network_time=torch.tensor([0.4, 1.6]))
    assert rounded_time(several, "nearest").network_time.tolist() == [0.0, 2.0]
