"""Exponential integrators: the shared coefficients of multistep and single-step solvers.

In lambda = log(alpha / sigma) the ODE is linear except in the prediction: over a step from t to s of gain h
(Lu et al. 2022b)

    x_s = sigma_s / sigma_t x_t + alpha_s int_0^h exp(-(h - u)) x0(u) du          u = lambda - lambda_t
        = alpha_s / alpha_t x_t - sigma_s int_0^h exp(h - u) eps(u) du

and a solver replaces x0(u) or eps(u) by a polynomial through known predictions. The nodes are the u of these
predictions, newest first: 0 for the prediction at t, negative for earlier ones.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import expm1, isfinite
from typing import NamedTuple

from torch import Tensor

from ..core.errors import FastdiffError
from ..core.prediction import Prediction
from ..core.schedule import Schedule


class Step(NamedTuple):
    """A step of a time grid in log(alpha / sigma).

    Args:
        h: gain in log(alpha / sigma).
        nodes: log(alpha / sigma) of the usable predictions relative to the start, newest first.
        start: (alpha, sigma) at the start.
        end: (alpha, sigma) at the end.
    """

    h: float
    nodes: list[float]
    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def keep(self) -> float:
        """The factor of x, sigma_s / sigma_t."""
        return self.end[1] / self.start[1]


class Coefficients(NamedTuple):
    """The coefficients of a step, x_s = x x_t + x0 x0_t + sum_j past_j p_j.

    Args:
        x: coefficient of x_t.
        x0: coefficient of the clean prediction at t.
        past: coefficients of the previous predictions p_j (x0 or eps), newest first.
    """

    x: float
    x0: float
    past: list[float]


def log_snr_steps(schedule: Schedule, times: Tensor) -> list[float]:
    """Return each step's gain in log(alpha / sigma), infinite from pure noise and into data."""
    alpha, sigma = schedule.alpha_sigma(times)
    return (alpha / sigma).log().diff().tolist()


def steps_of(schedule: Schedule, times: Tensor, order: int, lower_order_below: int = 0) -> list[Step]:
    """Return the steps of a grid, each with at most `order` nodes.

    A step has one node, which is DDIM, where log(alpha / sigma) is infinite: from alpha = 0, whose prediction
    no later step uses, and into data. On a grid of fewer steps than `lower_order_below`, a step has at most
    as many nodes as there are steps left with it.
    """
    steps = []
    nodes: list[float] = []
    gains = log_snr_steps(schedule, times)
    lower = len(gains) < lower_order_below
    for left, h, (start, end) in zip(
        range(len(gains), 0, -1), gains, pairwise(schedule.levels(times)), strict=True
    ):
        nodes = [0.0, *nodes][:order] if isfinite(h) else [0.0]
        steps.append(Step(h, nodes[:left] if lower else nodes, start, end))
        nodes = [node - h for node in nodes] if isfinite(h) else []
    return steps


def moments(h: float, count: int, sign: int = 1) -> list[float]:
    """Return the integrals of exp(-sign (h - u)) u^k over [0, h] for k < count.

    Args:
        h: length of the interval.
        count: number of integrals.
        sign: 1 for a polynomial of x0, -1 for a polynomial of eps.
    """
    integrals = [-sign * expm1(-sign * h)]
    for k in range(1, count):
        integrals.append(sign * (h**k - k * integrals[-1]))
    return integrals


def lagrange_weights(nodes: Sequence[float], moments: Sequence[float]) -> list[float]:
    """Return the weight of each node's value in the integral of the polynomial through all values.

    The polynomial sum_k c_k u^k through the values has the integral sum_k c_k moments_k.
    """
    weights = []
    for node in nodes:
        basis = [1.0]  # the Lagrange polynomial, as coefficients of 1, u, u^2, ...
        for other in nodes:
            if other != node:
                pairs = zip([0.0, *basis], [*basis, 0.0])
                basis = [(below - other * c) / (node - other) for below, c in pairs]
        weights.append(sum(c * moment for c, moment in zip(basis, moments)))
    return weights


def x0_coefficients(step: Step, moments: Sequence[float]) -> Coefficients:
    """Return the coefficients of x_s = sigma_s / sigma_t x_t + alpha_s sum_j w_j x0_j, w Lagrange weights."""
    x0, *past = (step.end[0] * weight for weight in lagrange_weights(step.nodes, moments))
    return Coefficients(step.keep, x0, past)


def eps_coefficients(step: Step, past: Sequence[float]) -> Coefficients:
    """Return DDIM's coefficients with sum_j past_j (eps_j - eps_t), eps_t = (x_t - alpha_t x0) / sigma_t."""
    alpha_t, sigma_t = step.start
    alpha_s, _ = step.end
    factor = sum(past) / sigma_t
    return Coefficients(step.keep - factor, factor * alpha_t - alpha_s * expm1(-step.h), list(past))


def apply(step: Coefficients, p: Prediction, past: list[Tensor]) -> Tensor:
    """Return x_s from the prediction at t and the previous predictions (x0 or eps), newest first."""
    x = p.blend(step.x, step.x0)
    for factor, other in zip(step.past, past, strict=True):
        x = x.add_(other, alpha=factor)
    return x


def check_choice(sampler: str, option: str, value: object, choices: Sequence[object]) -> None:
    """Raise FastdiffError if an option's value is not one of the choices."""
    if value not in choices:
        expected = ", ".join(map(str, choices))
        raise FastdiffError(f"sampler {sampler}: {option} = {value!r}: expected one of {expected}")
