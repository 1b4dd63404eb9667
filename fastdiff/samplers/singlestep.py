"""Exponential Runge-Kutta: several evaluations within a step, no memory of the steps before."""

from collections.abc import Iterator
from itertools import pairwise
from math import exp, isfinite
from typing import NamedTuple

from torch import Tensor

from ..core.guidance import Guided
from ..core.schedule import Schedule
from .multistep import (
    Coefficients,
    Step,
    apply,
    check_choice,
    eps_coefficients,
    lagrange_weights,
    moments,
    steps_of,
)
from .state import State, traits


class SingleStepStage(NamedTuple):
    """An evaluation at t, and the coefficients that lead from the start of its step to s.

    `coefficients.past` belongs to the eps of the step's later evaluations, in their order.
    """

    t: Tensor
    s: Tensor
    coefficients: Coefficients


def stages_of(schedule: Schedule, times: Tensor, order: int) -> list[list[SingleStepStage]]:
    """Return the evaluations of every step of a grid: `order` of them, at even distances in log-SNR."""
    alpha, sigma = schedule.alpha_sigma(times)
    steps = []
    for (t, s), ratio, step in zip(pairwise(times), sigma / alpha, steps_of(schedule, times, 1)):
        if not isfinite(step.h):
            steps.append([SingleStepStage(t, s, eps_coefficients(step, []))])
            continue
        inner = [schedule.time_of(ratio * exp(-step.h * i / order)) for i in range(1, order)]
        stops = [t, *inner, s]
        stages = []
        for i in range(order):
            h = step.h * (i + 1) / order
            nodes = [step.h * j / order for j in range(i + 1)]
            end = tuple(map(float, schedule.alpha_sigma(stops[i + 1])))
            _, *weights = lagrange_weights(nodes, moments(h, len(nodes), sign=-1))
            later = [-end[1] * weight for weight in weights]
            coefficients = eps_coefficients(Step(h, nodes, step.start, end), later)
            stages.append(SingleStepStage(stops[i], stops[i + 1], coefficients))
        steps.append(stages)
    return steps


@traits(order="2", nfe="2, from alpha = 0 or into data 1")
def dpm_solver(denoise: Guided, x: Tensor, times: Tensor, *, order: int = 2) -> Iterator[State]:
    """DPM-Solver in single steps, on eps at even distances in log-SNR (Lu et al. 2022a, section 3).

    order: evaluations a step, 2 or 3. Each stage goes on from the start of the step along the polynomial P
    through all eps of the step, integrated exactly, at h its gain in log-SNR:

        x_s = alpha_s / alpha_t x_t - sigma_s int_0^h exp(h - u) P(u) du

    This is the Taylor form of public code, of less error at few steps than the paper's algorithms, which use
    two eps at most. One evaluation, which is DDIM, where the log-SNR is infinite: from alpha = 0, and into
    data.
    """
    check_choice("dpm_solver", "order", order, (2, 3))
    for s, (first, *later) in zip(times[1:], stages_of(denoise.schedule, times, order), strict=True):
        p = denoise(x, first.t, first.s)
        slopes: list[Tensor] = []
        x = apply(first.coefficients, p, slopes)
        for stage in later:
            slopes.append(denoise(x, stage.t, stage.s).eps)
            x = apply(stage.coefficients, p, slopes)
        yield State(s, x, p)
