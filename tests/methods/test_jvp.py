"""Derivatives along a path of constant (x0, eps), and the straight line's time that they are written in."""

import pytest
import torch

from fastdiff.core.broadcast import like
from fastdiff.core.prediction import ratio_of
from fastdiff.core.schedule import SCHEDULES, Cosine, Flow
from fastdiff.methods.jvp import Neighbours, directional_derivative
from fastdiff.methods.meanflow import rate_of_line
from fastdiff.methods.scm import rate_of_log_ratio

SHARES = torch.tensor([0.1, 0.35, 0.6, 0.9], dtype=torch.float64)  # on the straight line


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_time_of_the_flow_is_the_inverse_of_straight(name):
    schedule = SCHEDULES[name]()
    last = float(schedule.straight(torch.tensor(schedule.t_max, dtype=torch.float64)))
    u = SHARES * last
    torch.testing.assert_close(schedule.straight(schedule.time_of_flow(u)), u)
    ends = schedule.time_of_flow(torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert ends[0].abs() < 1e-12 and ends[1] == schedule.t_max
    other = schedule.time_of(ratio_of(Flow(), u)).clamp(max=schedule.t_max)
    assert torch.equal(schedule.time_of_flow(u), other)  # to the last bit


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "differences"])
@pytest.mark.parametrize("name", ["flow", "cosine", "karras", "trig", "vp"])
def test_a_derivative_by_a_clock_is_that_of_x_and_of_the_time(name, exact):
    """Of sin x + t^2 it is known: cos x dx/dt + 2 t, times dt / d clock."""
    schedule = SCHEDULES[name]()
    t = schedule.time_of_flow(SHARES)
    x0, eps = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, velocity = schedule.mix(x0, eps, t), schedule.velocity(x0, eps, t)
    slope = x.cos() * velocity + 2 * like(t, x)
    clocks = {
        rate_of_line: schedule.straight,
        rate_of_log_ratio: lambda t: ratio_of(schedule, t).log(),
    }
    for rate_of, clock in clocks.items():
        rate = rate_of(schedule, t)
        before, after = t * (1 - 1e-5), t * (1 + 1e-5)
        neighbours = None if exact else Neighbours(before, after, clock(after) - clock(before))
        found = directional_derivative(
            lambda x, t: x.sin() + like(t, x) ** 2, schedule, (x0, eps), t, rate, neighbours
        )
        tolerance = {"rtol": 1e-9, "atol": 1e-12} if exact else {"rtol": 1e-6, "atol": 1e-6}
        torch.testing.assert_close(found, like(rate, x) * slope, **tolerance)
        assert not found.requires_grad


def test_differences_ignore_autocast():
    t, (x0, eps) = torch.full((2,), 0.5).double(), torch.randn(2, 2, 3)
    weight = torch.randn(3, 3)
    neighbours = Neighbours(t - 0.01, t + 0.01, torch.full_like(t, 0.02))
    kinds = []

    def function(x, t):
        kinds.append((x @ weight).dtype)
        return x @ weight

    with torch.autocast("cpu", torch.bfloat16):
        for sides in (None, neighbours):
            found = directional_derivative(function, Cosine(), (x0, eps), t, torch.ones_like(t), sides)
            assert found.dtype == torch.float32
    assert set(kinds) == {torch.float32}
