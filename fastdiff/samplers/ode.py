"""One-step solvers of the probability-flow ODE in the schedule's own time."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from ..denoiser import Prediction
from ..errors import FastdiffError
from ..guidance import Guided
from ..schedule import Schedule
from .state import State


def velocity(schedule: Schedule, p: Prediction, t: Tensor) -> Tensor:
    """dx/dt. FastdiffError where it is infinite: sigmoid at t_max."""
    if not torch.stack(schedule.rates(t)).isfinite().all():
        raise FastdiffError(f"euler and heun: this schedule's rates are infinite at t = {t:g}; use ddim or spacing karras")
    return schedule.velocity(*p, t)


def euler(denoise: Guided, x: Tensor, times: Tensor) -> Iterator[State]:
    """Euler's method on dx/dt; DDIM where the path is straight (flow, karras)."""
    for t, s in pairwise(times):
        p = denoise(x, t, s)
        x = x + (s - t) * velocity(denoise.schedule, p, t)
        yield State(s, x, p.x0)


def heun(denoise: Guided, x: Tensor, times: Tensor) -> Iterator[State]:
    """Heun's second-order method, Euler into 0 (Karras et al. 2022, algorithm 1): 2 steps - 1 evaluations."""
    for t, s in pairwise(times):
        p = denoise(x, t, s)
        slope = velocity(denoise.schedule, p, t)
        if s > 0:
            trial = denoise(x + (s - t) * slope, s, s)
            slope = (slope + velocity(denoise.schedule, trial, s)) / 2
        x = x + (s - t) * slope
        yield State(s, x, p.x0)
