"""Adaptive Runge-Kutta solvers of the probability-flow ODE: a tolerance instead of steps.

On the circle, with u = atan(sigma / alpha) and z = x / sqrt(alpha^2 + sigma^2) = cos(u) x0 + sin(u) eps, the
ODE is

    dz/du = -sin(u) x0 + cos(u) eps

for every schedule, and nothing is singular: pure noise is u = pi / 2.
"""

from collections.abc import Iterator
from math import atan, atan2, hypot
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.broadcast import blend, like
from ..core.errors import FastdiffError
from ..core.guidance import Guided
from .state import State, traits

SHORTEST = 1e-10  # radians: no tolerance that can be met asks for such steps


class Tableau(NamedTuple):
    """An embedded pair whose last stage is the first of the next step: order, rows of the stages, b - b of the companion."""

    order: int
    rows: tuple[tuple[float, ...], ...]
    error: tuple[float, ...]


BOGACKI_SHAMPINE = Tableau(3, ((1 / 2,), (0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)), (-5 / 72, 1 / 12, 1 / 9, -1 / 8))

DORMAND_PRINCE = Tableau(
    5,
    (
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    (71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
)


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
    """Bogacki & Shampine's pair of orders 3 and 2, each sample in its own steps; see integrate."""
    yield from integrate("ode23", BOGACKI_SHAMPINE, denoise, x, times, rtol, atol, ratio_min)


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
    """Dormand & Prince's pair of orders 5 and 4, each sample in its own steps; see integrate."""
    yield from integrate("ode45", DORMAND_PRINCE, denoise, x, times, rtol, atol, ratio_min)


def integrate(
    sampler: str,
    tableau: Tableau,
    denoise: Guided,
    x: Tensor,
    times: Tensor,
    rtol: float,
    atol: float,
    ratio_min: float,
) -> Iterator[State]:
    """From times[0] to times[-1], whatever lies between; into data from sigma / alpha = ratio_min by its prediction.

    rtol, atol: a step is taken where the root mean square of error / (atol + rtol |z|) over a sample is at most 1. Time,
    step and acceptance are a sample's own, so that it never depends on its batch; one that has arrived stays as it is.
    A State follows each round of stages: t is the time of the sample farthest from the end, x0 what is predicted of x.
    Whether all have arrived is asked once a round, which waits for the device.
    """
    for option, value in (("rtol", rtol), ("atol", atol), ("ratio_min", ratio_min)):
        if not value > 0:
            raise FastdiffError(f"sampler {sampler}: {option} = {value}, expected a number above 0")
    schedule, (first, last) = denoise.schedule, times[[0, -1]].tolist()
    (alpha, sigma), (alpha_end, sigma_end) = schedule.levels(times[[0, -1]])
    start, end = atan2(sigma, alpha), atan2(sigma_end, alpha_end) if sigma_end > 0 else atan(ratio_min)

    def time_at(u: Tensor) -> Tensor:
        return schedule.time_of(u.tan()).clamp(last, first)

    def point(z: Tensor, u: Tensor) -> Tensor:
        return z * like(torch.hypot(*schedule.alpha_sigma(time_at(u))), z)

    def ask(z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        t = time_at(u)
        x0, eps = denoise(point(z, u), t, t)
        return x0, blend(-u.sin(), x0, u.cos(), eps)  # dz/du

    u = torch.full((len(x),), start, dtype=torch.float64, device=x.device)
    h = torch.full_like(u, (start - end) * min(1.0, rtol) ** (1 / tableau.order))
    z, left = x / hypot(alpha, sigma), start
    x0, slope = ask(z, u)
    while left > end:
        h, slopes = torch.minimum(h, u - end), [slope]
        for row in tableau.rows:  # the last row's stage is the step's own end
            ahead = z - like(h, z) * total(row, slopes)
            x0_ahead, slope_ahead = ask(ahead, u - sum(row) * h)
            slopes.append(slope_ahead)
        error = (
            like(h, z) * total(tableau.error, slopes) / (atol + rtol * torch.maximum(z.abs(), ahead.abs()))
        )
        norm = error.flatten(1).double().square().mean(1).sqrt()
        taken = (norm <= 1) & (h > 0)
        mask = taken.reshape(-1, *[1] * (z.ndim - 1))
        z, x0, slope = (
            torch.where(mask, *pair) for pair in ((ahead, z), (x0_ahead, x0), (slope_ahead, slope))
        )
        u = torch.where(taken, torch.where(h < u - end, u - h, end), u)
        h = h * (0.9 * norm ** (-1 / tableau.order)).clamp(
            0.2, 1.5
        )  # a longer leap may meet an error of 0 by chance
        left, shortest = torch.stack([u.max(), torch.where(u > end, h, torch.inf).min()]).tolist()
        if not shortest > SHORTEST:
            raise FastdiffError(
                f"sampler {sampler}: no step is short enough at u = {left:.3g} of sigma / alpha = tan(u); "
                "the model's predictions are not finite, or rtol and atol are below its precision"
            )
        if left > end:
            yield State(time_at(torch.tensor(left, dtype=torch.float64)), point(z, u), x0)
    yield State(times[-1], z * hypot(alpha_end, sigma_end) if sigma_end > 0 else x0, x0)


def total(shares: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    """The sum of these shares of the slopes."""
    return sum(slope * share for share, slope in zip(shares, slopes, strict=True) if share)
