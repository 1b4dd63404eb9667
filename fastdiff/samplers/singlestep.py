"""Exponential Runge-Kutta: several evaluations within a step, no memory of the steps before."""

from collections.abc import Iterator
from itertools import pairwise
from math import exp, isfinite
from typing import NamedTuple

from torch import Tensor

from ..core.guidance import Guided
from ..core.schedule import Schedule
from .multistep import Step, expect, follow, moments, row_of_eps, steps_of, weights
from .state import State, traits


class Stage(NamedTuple):
    """An evaluation at t, and the row that leads on from the start of its step to s: of x, of x0 and of later eps."""

    t: Tensor
    s: Tensor
    row: list[float]


def stages_of(schedule: Schedule, times: Tensor, order: int) -> list[list[Stage]]:
    """The evaluations of every step of a grid: order of them, at even distances in log-SNR."""
    alpha, sigma = schedule.alpha_sigma(times)
    found = []
    for (t, s), ratio, step in zip(pairwise(times), sigma / alpha, steps_of(schedule, times, 1)):
        if not isfinite(step.h):
            found.append([Stage(t, s, row_of_eps(step, []))])
            continue
        inner = [schedule.time_of(ratio * exp(-step.h * i / order)) for i in range(1, order)]
        stops, stages = [t, *inner, s], []
        for i in range(order):
            h, nodes = step.h * (i + 1) / order, [step.h * j / order for j in range(i + 1)]
            end = tuple(map(float, schedule.alpha_sigma(stops[i + 1])))
            _, *later = weights(nodes, moments(h, len(nodes), sign=-1))
            row = row_of_eps(Step(h, nodes, step.start, end), [-end[1] * weight for weight in later])
            stages.append(Stage(stops[i], stops[i + 1], row))
        found.append(stages)
    return found


@traits(order="2", nfe="2, from alpha = 0 or into data 1")
def dpm_solver(denoise: Guided, x: Tensor, times: Tensor, *, order: int = 2) -> Iterator[State]:
    """DPM-Solver in single steps, on eps at even distances in log-SNR (Lu et al. 2022a, section 3).

    order, 2 or 3: evaluations a step. Each leads on along the polynomial through all eps of the step,
    integrated exactly: the Taylor form of public code, of less error at few steps than the paper's
    algorithms, which use two of them at most. One evaluation, which is DDIM, where the log-SNR is infinite:
    from alpha = 0, and into data.
    """
    expect("dpm_solver", "order", order, (2, 3))
    for s, (first, *later) in zip(times[1:], stages_of(denoise.schedule, times, order), strict=True):
        p, slopes = denoise(x, first.t, first.s), []
        x = follow(first.row, p, slopes)
        for stage in later:
            slopes.append(denoise(x, stage.t, stage.s).eps)
            x = follow(stage.row, p, slopes)
        yield State(s, x, p)
