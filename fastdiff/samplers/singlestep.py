"""Exponential Runge-Kutta solvers: several evaluations per step, and no memory of earlier steps."""

from collections.abc import Iterator
from itertools import pairwise
from math import exp, isfinite
from typing import NamedTuple

from torch import Tensor

from ..core.guidance import Guided
from ..core.schedule import Schedule
from .exponential import (
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
    """An evaluation within a step, and the coefficients that lead from the start of the step to time s.

    Args:
        t: time of the evaluation.
        s: time that the stage reaches.
        coefficients: coefficients of the stage; `past` multiplies the eps of the step's evaluations after the
            first, in their order.
    """

    t: Tensor
    s: Tensor
    coefficients: Coefficients


def stages_of(schedule: Schedule, times: Tensor, order: int) -> list[list[SingleStepStage]]:
    """Return the stages of every step of a grid: `order` stages, equally spaced in log(alpha / sigma)."""
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
    """DPM-Solver in single steps, on eps equally spaced in log(alpha / sigma) (Lu et al. 2022a, section 3).

    With P the polynomial through all eps of the step, integrated exactly, and h the gain in
    log(alpha / sigma) from the start of the step, each stage is

        x_s = alpha_s / alpha_t x_t - sigma_s int_0^h exp(h - u) P(u) du

    This is the Taylor form of public code; it has less error at few steps than the paper's algorithms, which
    use at most two eps. Where log(alpha / sigma) is infinite, from alpha = 0 and into data, the step is one
    evaluation of DDIM.

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        order: number of evaluations per step, 2 or 3.

    Yields:
        A State (t, x, x0) after each step.
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
