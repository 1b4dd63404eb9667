"""One-step solvers of the probability-flow ODE in the time of the schedule."""

from collections.abc import Iterator
from itertools import pairwise
from math import isfinite

from torch import Tensor

from ..core.errors import FastdiffError
from ..core.guidance import Guided
from ..core.schedule import Schedule
from .state import State, traits


def slopes(schedule: Schedule, times: Tensor) -> list[tuple[float, float] | None]:
    """Return (c, d) in dx/dt = c x + d x0 at every time of a grid, None at sigma = 0.

    Raises:
        FastdiffError: if the schedule's derivatives are infinite at one of the times.
    """
    coefficients: list[tuple[float, float] | None] = []
    rates = zip(*(rate.tolist() for rate in schedule.rates(times)), strict=True)
    for t, (alpha, sigma), (alpha_rate, sigma_rate) in zip(times, schedule.levels(times), rates, strict=True):
        if sigma == 0:
            coefficients.append(None)
            continue
        if not (isfinite(alpha_rate) and isfinite(sigma_rate)):
            raise FastdiffError(
                f"euler and heun: this schedule's rates are infinite at t = {t:g}; use ddim or spacing karras"
            )
        c = sigma_rate / sigma
        coefficients.append((c, alpha_rate - c * alpha))
    return coefficients


@traits(order="1")
def euler(denoise: Guided, x: Tensor, times: Tensor) -> Iterator[State]:
    """Euler's method on dx/dt; it equals DDIM where the path is straight (flow, karras).

    x_s = x_t + (s - t) dx/dt, and the last step goes to x0.

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.

    Yields:
        A State (t, x, x0) after each step.

    Raises:
        FastdiffError: if the schedule's derivatives are infinite at a time of the grid.
    """
    steps = times.diff().tolist()
    ends = pairwise(slopes(denoise.schedule, times))
    for (t, s), h, ((c, d), end) in zip(pairwise(times), steps, ends, strict=True):
        p = denoise(x, t, s)
        x = p.blend(1 + h * c, h * d) if end else p.x0
        yield State(s, x, p)


@traits(order="2", nfe="2, the last 1")
def heun(denoise: Guided, x: Tensor, times: Tensor) -> Iterator[State]:
    """Heun's second-order method (Karras et al. 2022, algorithm 1), with 2 n - 1 evaluations for n steps.

    x_s = x_t + (s - t) (dx/dt at t + dx/dt at s) / 2, and the last step goes to x0.

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.

    Yields:
        A State (t, x, x0) after each step.

    Raises:
        FastdiffError: if the schedule's derivatives are infinite at a time of the grid.
    """
    steps = times.diff().tolist()
    ends = pairwise(slopes(denoise.schedule, times))
    for (t, s), h, ((c, d), end) in zip(pairwise(times), steps, ends, strict=True):
        p = denoise(x, t, s)
        x = p.blend(1 + h * c, h * d) if end else p.x0
        if end:
            q = denoise(x, s, s)
            # the mean of both slopes: half of Euler's step, and half a step along the slope at s
            x = p.blend(1 + h * c / 2, h * d / 2).add_(q.blend(h * end[0] / 2, h * end[1] / 2))
        yield State(s, x, p)
