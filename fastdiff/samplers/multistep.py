"""Linear multistep solvers: one evaluation per step, and a memory of the previous predictions.

See `exponential` for the integrals that the solvers approximate.
"""

from collections.abc import Iterator
from itertools import pairwise, zip_longest
from math import expm1, isfinite
from typing import Literal

from torch import Tensor

from ..core.guidance import Guided
from .exponential import (
    Coefficients,
    apply,
    check_choice,
    eps_coefficients,
    lagrange_weights,
    moments,
    steps_of,
    x0_coefficients,
)
from .state import State, traits

# Adams-Bashforth weights on an even grid by the number of predictions, newest first.
ADAMS_BASHFORTH = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


def run_multistep(
    denoise: Guided,
    x: Tensor,
    times: Tensor,
    coefficients: list[Coefficients],
    memory: Literal["x0", "eps"],
) -> Iterator[State]:
    """Take each step by its coefficients; `memory` names the part of a prediction that `past` multiplies."""
    past: list[Tensor] = []
    remembered = [*(len(later.past) for later in coefficients[1:]), 0]  # number used by the next step
    for (t, s), step, count in zip(pairwise(times), coefficients, remembered, strict=True):
        p = denoise(x, t, s)
        x = apply(step, p, past)
        past = [getattr(p, memory), *past][:count] if count else []
        yield State(s, x, p)


@traits(order="2")
def dpmpp_2m(denoise: Guided, x: Tensor, times: Tensor, *, lower_order_below: int = 0) -> Iterator[State]:
    """DPM-Solver++(2M) in the midpoint form (Lu et al. 2022b, algorithm 2).

    With r the length of the previous step over h,

        x_s = sigma_s / sigma_t x_t - alpha_s (exp(-h) - 1) D        D = (1 + 1 / 2r) x0_t - 1 / 2r x0_before

    It is of first order (D = x0_t) on the first and the last step, and on the second step after a start at
    alpha = 0, where log(alpha / sigma) is infinite.

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        lower_order_below: on grids of fewer steps than this, the order is at most the number of steps left,
            as with diffusers' lower_order_final.

    Yields:
        A State (t, x, x0) after each step.
    """

    def midpoint(h: float) -> list[float]:  # x0 is taken as constant, at its value halfway
        return [-expm1(-h), -expm1(-h) * h / 2]

    steps = steps_of(denoise.schedule, times, 2, lower_order_below)
    coefficients = [x0_coefficients(step, midpoint(step.h)) for step in steps]
    yield from run_multistep(denoise, x, times, coefficients, "x0")


@traits(order="3")
def dpmpp_3m(
    denoise: Guided, x: Tensor, times: Tensor, *, compat: bool = False, lower_order_below: int = 0
) -> Iterator[State]:
    """DPM-Solver++(3M): the parabola through the last three x0, integrated exactly (Lu et al. 2022b).

    With c_0 + c_1 u + c_2 u^2 the parabola,

        x_s = sigma_s / sigma_t x_t + alpha_s sum_k c_k int_0^h exp(-(h - u)) u^k du

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        compat: use the form of public code, which halves the second derivative and uses the midpoint form on
            its second-order step. It is of second order, but often better below 100 steps on a Karras grid.
        lower_order_below: on grids of fewer steps than this, the order is at most the number of steps left,
            as with diffusers' lower_order_final.

    Yields:
        A State (t, x, x0) after each step.
    """

    def public(h: float, count: int) -> list[float]:
        exact = moments(h, count)
        if count == 2:
            return [exact[0], exact[0] * h / 2]
        return [*exact[:2], *(moment / 2 for moment in exact[2:])]

    rule = public if compat else moments
    steps = steps_of(denoise.schedule, times, 3, lower_order_below)
    coefficients = [x0_coefficients(step, rule(step.h, len(step.nodes))) for step in steps]
    yield from run_multistep(denoise, x, times, coefficients, "x0")


@traits(order="3")
def unipc(
    denoise: Guided,
    x: Tensor,
    times: Tensor,
    *,
    order: int = 2,
    solver: Literal["bh1", "bh2"] = "bh2",
    lower_order_below: int = 0,
) -> Iterator[State]:
    """UniPC (Zhao et al. 2023): a predictor, and a corrector that reuses the predictor's evaluation.

    It converges with order + 1. With P the polynomial through x0_t and the previous x0, both are

        x_s = sigma_s / sigma_t x_t + alpha_s int_0^h exp(-(h - u)) P(u) du

    and the corrector's P also passes through the x0 predicted at s. Only the next step uses the corrected
    state, so that its coefficients contain the correction. The States are those of the predictor.

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        order: number of x0 in the predictor's P, 1, 2 or 3.
        solver: the paper's function B(h), bh1 or bh2; it matters where P is a line through two x0.
        lower_order_below: on grids of fewer steps than this, the order is at most the number of steps left,
            as with diffusers' lower_order_final.

    Yields:
        A State (t, x, x0) after each step.
    """
    check_choice("unipc", "order", order, (1, 2, 3))
    check_choice("unipc", "solver", solver, ("bh1", "bh2"))

    def rule(h: float, count: int) -> list[float]:
        exact = moments(h, count)
        return [exact[0], (h if solver == "bh1" else exact[0]) * h / 2] if count == 2 else exact

    coefficients = []
    correction: list[float] = []
    for step in steps_of(denoise.schedule, times, order, lower_order_below):
        predictor = x0_coefficients(step, rule(step.h, len(step.nodes)))
        if not isfinite(step.h):
            coefficients.append(predictor)
            correction = []
            continue
        predicted = [predictor.x0, *predictor.past]
        added = zip_longest(predicted, correction, fillvalue=0.0)
        x0, *past = (a + predictor.x * b for a, b in added)
        coefficients.append(Coefficients(predictor.x, x0, past))
        longer = step._replace(nodes=[step.h, *step.nodes])
        corrector = x0_coefficients(longer, rule(step.h, len(longer.nodes)))
        corrected = [corrector.x0, *corrector.past]
        correction = [a - b for a, b in zip(corrected, [0.0, *predicted])]
    yield from run_multistep(denoise, x, times, coefficients, "x0")


@traits(order="2")
def ipndm(denoise: Guided, x: Tensor, times: Tensor, *, order: int = 4) -> Iterator[State]:
    """Improved PNDM: Adams-Bashforth in sigma / alpha with the weights of an even grid (Zhang & Chen 2023).

    It is DDIM with a weighted mean of the last eps (Liu et al. 2022, PNDM); with two of them

        x_s = alpha_s / alpha_t x_t + (sigma_s - sigma_t alpha_s / alpha_t) (3 eps_t - eps_before) / 2

    On an uneven grid its formal order is 2 at most; it is best at few steps.

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        order: number of eps in the mean, 1 to 4.

    Yields:
        A State (t, x, x0) after each step.
    """
    check_choice("ipndm", "order", order, tuple(ADAMS_BASHFORTH))
    coefficients = []
    for step in steps_of(denoise.schedule, times, order):
        _, *older = ADAMS_BASHFORTH[len(step.nodes)]
        past = [-step.end[1] * expm1(step.h) * weight for weight in older]
        coefficients.append(eps_coefficients(step, past))
    yield from run_multistep(denoise, x, times, coefficients, "eps")


@traits(order="3")
def deis(
    denoise: Guided, x: Tensor, times: Tensor, *, order: int = 3, lower_order_below: int = 0
) -> Iterator[State]:
    """DEIS in log(sigma / alpha): the polynomial through the last eps (Zhang & Chen 2023).

    With P the polynomial through eps_t and the previous eps,

        x_s = alpha_s / alpha_t x_t - sigma_s int_0^h exp(h - u) P(u) du

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        order: number of eps in P, 1, 2 or 3.
        lower_order_below: on grids of fewer steps than this, the order is at most the number of steps left,
            as with diffusers' lower_order_final.

    Yields:
        A State (t, x, x0) after each step.
    """
    check_choice("deis", "order", order, (1, 2, 3))
    coefficients = []
    for step in steps_of(denoise.schedule, times, order, lower_order_below):
        _, *older = lagrange_weights(step.nodes, moments(step.h, len(step.nodes), sign=-1))
        past = [-step.end[1] * weight for weight in older]
        coefficients.append(eps_coefficients(step, past))
    yield from run_multistep(denoise, x, times, coefficients, "eps")
