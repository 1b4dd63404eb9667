"""One-step solvers of the probability-flow ODE in the schedule's own time."""

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor

from ..guidance import Guided
from .state import State


def euler(denoise: Guided, x: Tensor, times: Tensor) -> Iterator[State]:
    """Euler's method on dx/dt; DDIM where the path is straight (flow, karras)."""
    for t, s in pairwise(times):
        p = denoise(x, t, s)
        x = x + (s - t) * denoise.schedule.velocity(*p, t)
        yield State(s, x, p.x0)


def heun(denoise: Guided, x: Tensor, times: Tensor) -> Iterator[State]:
    """Heun's second-order method, Euler into 0 (Karras et al. 2022, algorithm 1): 2 steps - 1 evaluations."""
    for t, s in pairwise(times):
        p = denoise(x, t, s)
        slope = denoise.schedule.velocity(*p, t)
        if s > 0:
            trial = denoise(x + (s - t) * slope, s, s)
            slope = (slope + denoise.schedule.velocity(*trial, s)) / 2
        x = x + (s - t) * slope
        yield State(s, x, p.x0)
