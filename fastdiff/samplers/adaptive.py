"""Adaptive Runge-Kutta solvers of the probability-flow ODE, with a tolerance instead of a number of steps.

On the circle, with u = atan(sigma / alpha) and z = x / sqrt(alpha^2 + sigma^2) = cos(u) x0 + sin(u) eps, the
ODE is

    dz/du = -sin(u) x0 + cos(u) eps

for every schedule, and nothing is singular: pure noise is u = pi / 2.
"""

from collections.abc import Iterator
from math import atan, atan2, hypot

import torch
from torch import Tensor

from ..core.broadcast import blend, like
from ..core.errors import FastdiffError
from ..core.guidance import Guided
from .runge_kutta import BOGACKI_SHAMPINE, DORMAND_PRINCE, Front, ShortStepError, Tableau, integrate
from .state import State, traits

MAX_STEP_FACTOR = 1.5  # larger factors risk a step whose error estimate is 0 by chance


@traits(order="3", nfe="3 a round, 1 at the start", adaptive=True)
def ode23(
    denoise: Guided,
    x: Tensor,
    times: Tensor,
    *,
    rtol: float = 1e-3,
    atol: float = 1e-3,
    ratio_min: float = 0.002,
) -> Iterator[State]:
    """Bogacki & Shampine's pair of orders 3 and 2, with an adaptive step size per sample.

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        rtol: error of a step relative to the state, above 0.
        atol: absolute error of a step, above 0.
        ratio_min: sigma / alpha from which a prediction leads to data, above 0.

    Yields:
        A State (t, x, x0) after each round of stages.

    Raises:
        FastdiffError: see `solve`.
    """
    yield from solve("ode23", BOGACKI_SHAMPINE, denoise, x, times, rtol, atol, ratio_min)


@traits(order="5", nfe="6 a round, 1 at the start", adaptive=True)
def ode45(
    denoise: Guided,
    x: Tensor,
    times: Tensor,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    ratio_min: float = 0.002,
) -> Iterator[State]:
    """Dormand & Prince's pair of orders 5 and 4, with an adaptive step size per sample.

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        rtol: error of a step relative to the state, above 0.
        atol: absolute error of a step, above 0.
        ratio_min: sigma / alpha from which a prediction leads to data, above 0.

    Yields:
        A State (t, x, x0) after each round of stages.

    Raises:
        FastdiffError: see `solve`.
    """
    yield from solve("ode45", DORMAND_PRINCE, denoise, x, times, rtol, atol, ratio_min)


def solve(
    sampler: str,
    tableau: Tableau,
    denoise: Guided,
    x: Tensor,
    times: Tensor,
    rtol: float,
    atol: float,
    ratio_min: float,
) -> Iterator[State]:
    """Solve the ODE from times[0] to times[-1]; times between them are ignored.

    The last step, from sigma / alpha = ratio_min into data, is the prediction there. A State follows each
    round of stages: its t is the time of the sample farthest from the end, and its x0 the prediction at x.

    Args:
        sampler: name of the sampler, for error messages.
        tableau: pair of Runge-Kutta methods.
        denoise: the model with its condition and guidance.
        x: samples at times[0] (B, ...).
        times: decreasing time grid.
        rtol: relative tolerance: a step of a sample is accepted where the root mean square of
            error / (atol + rtol |z|) is at most 1.
        atol: absolute tolerance.
        ratio_min: sigma / alpha from which the prediction leads to data.

    Raises:
        FastdiffError: for a tolerance or ratio_min that is not above 0, and if no step meets the tolerance.
    """
    for option, value in (("rtol", rtol), ("atol", atol), ("ratio_min", ratio_min)):
        if not value > 0:
            raise FastdiffError(f"sampler {sampler}: {option} = {value}: expected a number above 0")
    schedule = denoise.schedule
    first, last = times[[0, -1]].tolist()
    (alpha, sigma), (alpha_end, sigma_end) = schedule.levels(times[[0, -1]])
    start = atan2(sigma, alpha)
    end = atan2(sigma_end, alpha_end) if sigma_end > 0 else min(atan(ratio_min), start)

    def time_at(u: Tensor) -> Tensor:
        return schedule.time_of(u.tan()).clamp(last, first)

    def point(z: Tensor, u: Tensor) -> Tensor:
        return z * like(torch.hypot(*schedule.alpha_sigma(time_at(u))), z)

    def field(z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:  # dz/du and x0
        t = time_at(u)
        x0, eps = denoise(point(z, u), t, t)
        return blend(-u.sin(), x0, u.cos(), eps), x0

    def state(front: Front) -> State:
        t = time_at(torch.tensor(front.farthest, dtype=torch.float64))
        return State(t, point(front.z, front.u), front.values[1])

    rounds = integrate(
        field,
        x / hypot(alpha, sigma),
        start,
        end,
        tableau,
        rtol=rtol,
        atol=atol,
        first_step=(start - end) * min(1.0, rtol) ** (1 / tableau.order),
        growth=MAX_STEP_FACTOR,
        norm=root_mean_square,
    )
    front = next(rounds)
    try:
        for front in rounds:
            if front.farthest > end:
                yield state(front)
    except ShortStepError as error:
        raise FastdiffError(
            f"sampler {sampler}: no step is short enough at u = {error.u:.3g} of sigma / alpha = tan(u); "
            "the model's predictions are not finite, or rtol and atol are below its precision"
        ) from None
    x0 = front.values[1]
    yield State(times[-1], front.z * hypot(alpha_end, sigma_end) if sigma_end > 0 else x0, x0)


def root_mean_square(error: Tensor) -> Tensor:
    """Return the root mean square of the error per sample, (B, ...) -> (B,), in float64."""
    return error.flatten(1).double().square().mean(1).sqrt()
