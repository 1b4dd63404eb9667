"""The base of schedules: what a schedule gets from its levels and their rates."""

from dataclasses import dataclass

import torch

from fastdiff.core.schedule_base import Schedule


@dataclass(frozen=True)
class Circle(Schedule):
    """alpha = cos t, sigma = sin t, for t up to 1.5."""

    t_max: float = 1.5

    def alpha_sigma(self, t):
        return t.double().cos(), t.double().sin()

    def rates(self, t):
        return -t.double().sin(), t.double().cos()


T = torch.tensor([0.3, 0.9, 1.4], dtype=torch.float64)


def test_the_velocity_is_the_derivative_of_a_mixture():
    x0, eps = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step = 1e-6
    difference = (Circle().mix(x0, eps, T + step) - Circle().mix(x0, eps, T - step)) / (2 * step)
    torch.testing.assert_close(Circle().velocity(x0, eps, T), difference, rtol=1e-6, atol=1e-8)


def test_levels_are_alpha_and_sigma_as_numbers():
    assert Circle().levels(T) == list(zip(T.cos().tolist(), T.sin().tolist(), strict=True))
