"""Linear multistep solvers: one evaluation a step, and memory of the predictions before.

In lambda = log(alpha / sigma) the ODE is linear but for the prediction: over a step from t to s that gains h
(Lu et al. 2022b)

    x_s = sigma_s / sigma_t x_t + alpha_s int_0^h exp(-(h - u)) x0(u) du          u = lambda - lambda_t
        = alpha_s / alpha_t x_t - sigma_s int_0^h exp(h - u) eps(u) du

and a solver is the polynomial that it puts through the predictions it has. Nodes are the u of the
predictions, newest first: 0 for the one at t, negative for those before.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise, zip_longest
from math import expm1, isfinite
from typing import Literal, NamedTuple

from torch import Tensor

from ..core.errors import FastdiffError
from ..core.guidance import Guided
from ..core.prediction import Prediction
from ..core.schedule import Schedule
from .state import State, traits

# Adams-Bashforth weights of an even grid by their number, newest first.
ADAMS_BASHFORTH = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


class Step(NamedTuple):
    """A step of a grid, as a solver sees it.

    Args:
        h: gain in log-SNR.
        nodes: log-SNRs of the predictions that it may use, counted from its start, newest first.
        start: (alpha, sigma) at its start.
        end: (alpha, sigma) at its end.
    """

    h: float
    nodes: list[float]
    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def keep(self) -> float:
        """sigma_s / sigma_t, the factor of x."""
        return self.end[1] / self.start[1]


class Coefficients(NamedTuple):
    """The numbers of a step, x_s = x x_t + x0 x0_t + sum_j past_j p_j.

    Args:
        x: of x_t.
        x0: of the clean prediction at t.
        past: of the predictions p_j before, x0 or eps, newest first.
    """

    x: float
    x0: float
    past: list[float]


def log_snr_steps(schedule: Schedule, times: Tensor) -> list[float]:
    """Return the log-SNR gained by each step of a grid, infinite from pure noise and into data."""
    alpha, sigma = schedule.alpha_sigma(times)
    return (alpha / sigma).log().diff().tolist()


def steps_of(schedule: Schedule, times: Tensor, order: int) -> list[Step]:
    """Return the steps of a grid, each with at most `order` nodes.

    One node, which is DDIM, where the log-SNR is infinite: from alpha = 0, a node that no later step sees,
    and into data.
    """
    steps = []
    nodes: list[float] = []
    gains = log_snr_steps(schedule, times)
    for h, (start, end) in zip(gains, pairwise(schedule.levels(times)), strict=True):
        nodes = [0.0, *nodes][:order] if isfinite(h) else [0.0]
        steps.append(Step(h, nodes, start, end))
        nodes = [node - h for node in nodes] if isfinite(h) else []
    return steps


def moments(h: float, count: int, sign: int = 1) -> list[float]:
    """Return the integrals of exp(-sign (h - u)) u^k over [0, h] for k < count.

    sign: 1 for a polynomial of x0, -1 for one of eps.
    """
    integrals = [-sign * expm1(-sign * h)]
    for k in range(1, count):
        integrals.append(sign * (h**k - k * integrals[-1]))
    return integrals


def lagrange_weights(nodes: Sequence[float], moments: Sequence[float]) -> list[float]:
    """Return the weight of each node's value in the integral of the polynomial through them.

    The polynomial sum_k c_k u^k through the values integrates to sum_k c_k moments_k.
    """
    weights = []
    for node in nodes:
        basis = [1.0]  # Lagrange's, as coefficients of 1, u, u^2, ...
        for other in nodes:
            if other != node:
                pairs = zip([0.0, *basis], [*basis, 0.0])
                basis = [(below - other * c) / (node - other) for below, c in pairs]
        weights.append(sum(c * moment for c, moment in zip(basis, moments)))
    return weights


def x0_coefficients(step: Step, moments: Sequence[float]) -> Coefficients:
    """Return x_s = sigma_s / sigma_t x_t + alpha_s sum_j w_j x0_j, w the Lagrange weights of the moments."""
    x0, *past = (step.end[0] * weight for weight in lagrange_weights(step.nodes, moments))
    return Coefficients(step.keep, x0, past)


def eps_coefficients(step: Step, past: Sequence[float]) -> Coefficients:
    """Return DDIM with sum_j past_j (eps_j - eps_t) added, where eps_t = (x_t - alpha_t x0) / sigma_t."""
    alpha_t, sigma_t = step.start
    alpha_s, _ = step.end
    factor = sum(past) / sigma_t
    return Coefficients(step.keep - factor, factor * alpha_t - alpha_s * expm1(-step.h), list(past))


def run_multistep(
    denoise: Guided,
    x: Tensor,
    times: Tensor,
    coefficients: list[Coefficients],
    memory: Literal["x0", "eps"],
) -> Iterator[State]:
    """Take each step by its coefficients; memory: the part of the predictions that `past` belongs to."""
    past: list[Tensor] = []
    remembered = [*(len(later.past) for later in coefficients[1:]), 0]  # by the next step
    for (t, s), step, count in zip(pairwise(times), coefficients, remembered, strict=True):
        p = denoise(x, t, s)
        x = apply(step, p, past)
        past = [getattr(p, memory), *past][:count] if count else []
        yield State(s, x, p)


def apply(step: Coefficients, p: Prediction, past: list[Tensor]) -> Tensor:
    """Return x_s from the prediction at t and the predictions before, x0 or eps, newest first."""
    x = p.blend(step.x, step.x0)
    for factor, other in zip(step.past, past, strict=True):
        x = x.add_(other, alpha=factor)
    return x


def check_choice(sampler: str, option: str, value: object, choices: Sequence[object]) -> None:
    """Raise FastdiffError for an option's value that is not among the choices."""
    if value not in choices:
        expected = ", ".join(map(str, choices))
        raise FastdiffError(f"sampler {sampler}: {option} = {value!r}, expected one of {expected}")


@traits(order="2")
def dpmpp_2m(denoise: Guided, x: Tensor, times: Tensor) -> Iterator[State]:
    """DPM-Solver++(2M), midpoint form (Lu et al. 2022b, algorithm 2).

    With r the length of the step before over h,

        x_s = sigma_s / sigma_t x_t - alpha_s (exp(-h) - 1) D        D = (1 + 1 / 2r) x0_t - 1 / 2r x0_before

    First order (D = x0_t) on the first and last step, and on the second after a start at alpha = 0, whose
    log-SNR is infinite.
    """

    def midpoint(h: float) -> list[float]:  # x0 taken as constant, at its value halfway
        return [-expm1(-h), -expm1(-h) * h / 2]

    steps = steps_of(denoise.schedule, times, 2)
    coefficients = [x0_coefficients(step, midpoint(step.h)) for step in steps]
    yield from run_multistep(denoise, x, times, coefficients, "x0")


@traits(order="3")
def dpmpp_3m(denoise: Guided, x: Tensor, times: Tensor, *, compat: bool = False) -> Iterator[State]:
    """DPM-Solver++(3M): the parabola through three x0, integrated exactly.

    With c_0 + c_1 u + c_2 u^2 the parabola,

        x_s = sigma_s / sigma_t x_t + alpha_s sum_k c_k int_0^h exp(-(h - u)) u^k du

    compat: the form found in public code, where the second derivative counts half: second order, with the
    midpoint form on its second-order step. Often the better of the two below a hundred steps on a Karras
    grid.
    """

    def public(h: float, count: int) -> list[float]:
        exact = moments(h, count)
        if count == 2:
            return [exact[0], exact[0] * h / 2]
        return [*exact[:2], *(moment / 2 for moment in exact[2:])]

    rule = public if compat else moments
    steps = steps_of(denoise.schedule, times, 3)
    coefficients = [x0_coefficients(step, rule(step.h, len(step.nodes))) for step in steps]
    yield from run_multistep(denoise, x, times, coefficients, "x0")


@traits(order="3")
def unipc(
    denoise: Guided, x: Tensor, times: Tensor, *, order: int = 2, solver: Literal["bh1", "bh2"] = "bh2"
) -> Iterator[State]:
    """UniPC (Zhao et al. 2023): a predictor, and a corrector that re-uses its evaluation.

    It converges with order + 1. Both are of the form, with P the polynomial through x0_t and those before,

        x_s = sigma_s / sigma_t x_t + alpha_s int_0^h exp(-(h - u)) P(u) du

    and the corrector's P also passes through the x0 predicted at s. A corrected state is only ever the start
    of the next step, so a step's coefficients hold the correction of the one before. States are as predicted.
    solver: the function B(h) of the paper, which matters where a line is drawn through two predictions.
    """
    check_choice("unipc", "order", order, (1, 2, 3))
    check_choice("unipc", "solver", solver, ("bh1", "bh2"))

    def rule(h: float, count: int) -> list[float]:
        exact = moments(h, count)
        return [exact[0], (h if solver == "bh1" else exact[0]) * h / 2] if count == 2 else exact

    coefficients = []
    correction: list[float] = []
    for step in steps_of(denoise.schedule, times, order):
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
    """Adams-Bashforth in sigma / alpha with the weights of an even grid (Liu et al. 2022; Zhang & Chen 2023).

    DDIM with a mean of the last eps in the place of eps, of two as in Adams-Bashforth 2:

        x_s = alpha_s / alpha_t x_t + (sigma_s - sigma_t alpha_s / alpha_t) (3 eps_t - eps_before) / 2

    order: the number of eps in use, 1 to 4. On an uneven grid the formal order is 2; it does best at few
    steps.
    """
    check_choice("ipndm", "order", order, tuple(ADAMS_BASHFORTH))
    coefficients = []
    for step in steps_of(denoise.schedule, times, order):
        _, *older = ADAMS_BASHFORTH[len(step.nodes)]
        past = [-step.end[1] * expm1(step.h) * weight for weight in older]
        coefficients.append(eps_coefficients(step, past))
    yield from run_multistep(denoise, x, times, coefficients, "eps")


@traits(order="3")
def deis(denoise: Guided, x: Tensor, times: Tensor, *, order: int = 3) -> Iterator[State]:
    """DEIS in log rho, rho = sigma / alpha: the polynomial through the last eps (Zhang & Chen 2023).

    With P the polynomial through eps_t and those before,

        x_s = alpha_s / alpha_t x_t - sigma_s int_0^h exp(h - u) P(u) du
    """
    check_choice("deis", "order", order, (1, 2, 3))
    coefficients = []
    for step in steps_of(denoise.schedule, times, order):
        _, *older = lagrange_weights(step.nodes, moments(step.h, len(step.nodes), sign=-1))
        past = [-step.end[1] * weight for weight in older]
        coefficients.append(eps_coefficients(step, past))
    yield from run_multistep(denoise, x, times, coefficients, "eps")
