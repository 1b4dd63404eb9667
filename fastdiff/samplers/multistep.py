"""Linear multistep solvers: one evaluation a step, memory of the steps before.

In lambda = log(alpha / sigma) the ODE is linear but for the prediction: over a step that gains h (Lu et al.
2022b)

    x_s = sigma_s / sigma_t x_t + alpha_s int_0^h exp(-(h - u)) x0(u) du          u = lambda - lambda_t
        = alpha_s / alpha_t x_t - sigma_s int_0^h exp(h - u) eps(u) du

and a solver is the polynomial that it puts through the predictions it has. Nodes are their u, newest first.
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

ADAMS = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


class Step(NamedTuple):
    """What a solver may use on one step: its length h in log-SNR, its nodes, and the levels at both ends."""

    h: float
    nodes: list[float]
    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def keep(self) -> float:
        return self.end[1] / self.start[1]


def log_snr_steps(schedule: Schedule, times: Tensor) -> list[float]:
    """log(alpha / sigma) gained by each step of a grid: infinite from pure noise, and into data."""
    alpha, sigma = schedule.alpha_sigma(times)
    return (alpha / sigma).log().diff().tolist()


def steps_of(schedule: Schedule, times: Tensor, order: int) -> list[Step]:
    """The steps of a grid, each with at most order nodes.

    One node, which is DDIM, where the log-SNR is infinite: from alpha = 0, a node that no later step sees,
    and into data.
    """
    found, nodes = [], []
    for h, (start, end) in zip(log_snr_steps(schedule, times), pairwise(schedule.levels(times)), strict=True):
        nodes = [0.0, *nodes][:order] if isfinite(h) else [0.0]
        found.append(Step(h, nodes, start, end))
        nodes = [node - h for node in nodes] if isfinite(h) else []
    return found


def moments(h: float, count: int, sign: int = 1) -> list[float]:
    """The integral of exp(-sign (h - u)) u^k over [0, h] for k < count; sign is 1 for x0 and -1 for eps."""
    found = [-sign * expm1(-sign * h)]
    for k in range(1, count):
        found.append(sign * (h**k - k * found[-1]))
    return found


def weights(nodes: Sequence[float], moments: Sequence[float]) -> list[float]:
    """The weight of each node's value, so that a polynomial sum c_k u^k through them integrates to sum c_k moments_k."""
    found = []
    for node in nodes:
        basis = [1.0]  # Lagrange's, as coefficients of 1, u, u^2, ...
        for other in nodes:
            if other != node:
                basis = [
                    (below - other * c) / (node - other) for below, c in zip([0.0, *basis], [*basis, 0.0])
                ]
        found.append(sum(c * moment for c, moment in zip(basis, moments)))
    return found


def row_of_x0(step: Step, moments: Sequence[float]) -> list[float]:
    """Coefficients of x and of the x0 at each node."""
    return [step.keep, *(step.end[0] * weight for weight in weights(step.nodes, moments))]


def row_of_eps(step: Step, older: Sequence[float]) -> list[float]:
    """Coefficients of x, of x0 and of older eps: DDIM, and older (eps_j - eps) added."""
    (alpha_t, sigma_t), (alpha_s, _) = step.start, step.end
    share = sum(older) / sigma_t  # of eps = (x - alpha_t x0) / sigma_t
    return [step.keep - share, share * alpha_t - alpha_s * expm1(-step.h), *older]


def walk(
    denoise: Guided, x: Tensor, times: Tensor, rows: list[list[float]], memory: Literal["x0", "eps"]
) -> Iterator[State]:
    """Each step is a row of numbers: of x, of x0, and of what is remembered of the predictions before, newest first."""
    past: list[Tensor] = []
    ahead = [*(len(row) - 2 for row in rows[1:]), 0]  # how much the next step remembers
    for (t, s), row, count in zip(pairwise(times), rows, ahead, strict=True):
        p = denoise(x, t, s)
        x = follow(row, p, past)
        past = [getattr(p, memory), *past][:count] if count else []
        yield State(s, x, p)


def follow(row: list[float], p: Prediction, others: list[Tensor]) -> Tensor:
    """The sum that a row of numbers stands for: of the prediction's x and x0, and of other x0 or eps."""
    keep, weight, *shares = row
    x = p.blend(keep, weight)
    for share, other in zip(shares, others, strict=True):
        x = x.add_(other, alpha=share)
    return x


def expect(sampler: str, option: str, value: object, choices: Sequence[object]) -> None:
    """Refuse an option's value that is not among the choices."""
    if value not in choices:
        raise FastdiffError(
            f"sampler {sampler}: {option} = {value!r}, expected one of {', '.join(map(str, choices))}"
        )


@traits(order="2")
def dpmpp_2m(denoise: Guided, x: Tensor, times: Tensor) -> Iterator[State]:
    """DPM-Solver++(2M), midpoint form (Lu et al. 2022b, algorithm 2).

    First order on the first and last step, and on the second after a start at alpha = 0, whose log-SNR is
    infinite.
    """

    def midpoint(h: float) -> list[float]:  # x0 taken as constant, at its value halfway
        return [-expm1(-h), -expm1(-h) * h / 2]

    rows = [row_of_x0(step, midpoint(step.h)) for step in steps_of(denoise.schedule, times, 2)]
    yield from walk(denoise, x, times, rows, "x0")


@traits(order="3")
def dpmpp_3m(denoise: Guided, x: Tensor, times: Tensor, *, compat: bool = False) -> Iterator[State]:
    """DPM-Solver++(3M): the parabola through three x0, integrated exactly.

    compat: the form found in public code, where the second derivative counts half: second order, with the
    midpoint form on its second-order step. Often the better of the two below a hundred steps on a Karras
    grid.
    """

    def public(h: float, count: int) -> list[float]:
        found = moments(h, count)
        return (
            [found[0], found[0] * h / 2]
            if count == 2
            else [*found[:2], *(moment / 2 for moment in found[2:])]
        )

    rule = public if compat else moments
    rows = [row_of_x0(step, rule(step.h, len(step.nodes))) for step in steps_of(denoise.schedule, times, 3)]
    yield from walk(denoise, x, times, rows, "x0")


@traits(order="3")
def unipc(
    denoise: Guided, x: Tensor, times: Tensor, *, order: int = 2, solver: Literal["bh1", "bh2"] = "bh2"
) -> Iterator[State]:
    """UniPC (Zhao et al. 2023): a predictor and a corrector that re-uses its evaluation; converges with order + 1.

    A corrected state is only ever the start of the next step, so both are one row. States are as predicted.
    solver: the function B(h) of the paper, which matters where a line is drawn through two predictions.
    """
    expect("unipc", "order", order, (1, 2, 3))
    expect("unipc", "solver", solver, ("bh1", "bh2"))

    def rule(h: float, count: int) -> list[float]:
        found = moments(h, count)
        return [found[0], (h if solver == "bh1" else found[0]) * h / 2] if count == 2 else found

    rows, correction = [], []
    for step in steps_of(denoise.schedule, times, order):
        keep, *predictor = row_of_x0(step, rule(step.h, len(step.nodes)))
        if not isfinite(step.h):
            rows, correction = [*rows, [keep, *predictor]], []
            continue
        rows.append([keep, *(a + keep * b for a, b in zip_longest(predictor, correction, fillvalue=0.0))])
        _, *corrector = row_of_x0(
            step._replace(nodes=[step.h, *step.nodes]), rule(step.h, 1 + len(step.nodes))
        )
        correction = [a - b for a, b in zip(corrector, [0.0, *predictor])]
    yield from walk(denoise, x, times, rows, "x0")


@traits(order="2")
def ipndm(denoise: Guided, x: Tensor, times: Tensor, *, order: int = 4) -> Iterator[State]:
    """Adams-Bashforth in sigma / alpha with the weights of an even grid (Liu et al. 2022; Zhang & Chen 2023).

    order counts the eps in use, 1 to 4. On an uneven grid the formal order is 2; few steps are where it
    shines.
    """
    expect("ipndm", "order", order, tuple(ADAMS))
    rows = [
        row_of_eps(step, [-step.end[1] * expm1(step.h) * weight for weight in ADAMS[len(step.nodes)][1:]])
        for step in steps_of(denoise.schedule, times, order)
    ]
    yield from walk(denoise, x, times, rows, "eps")


@traits(order="3")
def deis(denoise: Guided, x: Tensor, times: Tensor, *, order: int = 3) -> Iterator[State]:
    """DEIS in log rho, rho = sigma / alpha: the polynomial through the last eps (Zhang & Chen 2023)."""
    expect("deis", "order", order, (1, 2, 3))
    rows = []
    for step in steps_of(denoise.schedule, times, order):
        _, *older = weights(step.nodes, moments(step.h, len(step.nodes), sign=-1))
        rows.append(row_of_eps(step, [-step.end[1] * weight for weight in older]))
    yield from walk(denoise, x, times, rows, "eps")
