"""The adaptive integrator: embedded Runge-Kutta pairs, with a step size per sample."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.broadcast import like

MIN_STEP = 1e-10  # in radians; shorter steps mean that the tolerance cannot be met
SAFETY_FACTOR = 0.9  # factor of the step size that the error estimate allows
MIN_STEP_FACTOR = 0.2  # smallest factor from one step size to the next

# (z, u) -> the slope dz/du and further values at the point, which the integrator passes on.
Field = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


class Tableau(NamedTuple):
    """An embedded pair of Runge-Kutta methods whose last stage is the first stage of the next step.

    Args:
        order: order of the propagated solution.
        rows: Runge-Kutta coefficients of each stage after the first.
        error: weights of the propagated solution minus those of the other solution.
    """

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


class Front(NamedTuple):
    """The states and positions that the samples have reached.

    Args:
        z: states (B, ...).
        u: positions (B,), float64.
        values: slope and further values of the field at each position.
        farthest: position of the sample farthest from the end.
    """

    z: Tensor
    u: Tensor
    values: tuple[Tensor, ...]
    farthest: float


class ShortStepError(ArithmeticError):
    """An error for a tolerance that no step size meets.

    Args:
        u: position of the sample farthest from the end.
    """

    def __init__(self, u: float) -> None:
        super().__init__(f"no step is short enough at u = {u:.3g}")
        self.u = u


def integrate(
    field: Field,
    z: Tensor,
    start: float,
    end: float,
    tableau: Tableau,
    *,
    rtol: float,
    atol: float,
    first_step: float,
    growth: float,
    norm: Callable[[Tensor], Tensor],
) -> Iterator[Front]:
    """Integrate dz/du upwards or downwards; yield the front at the start and after each round.

    A round evaluates all stages of one step for every sample. Each sample has its own position, step size and
    acceptance, so that its path does not depend on its batch; a sample at the end does not move. The host
    waits for the device once per round, to see whether all samples are at the end.

    Args:
        field: function (z, u) -> slope and further values, evaluated once at the start and at every stage.
        z: states at the start (B, ...).
        start: position of all samples at the start.
        end: position of all samples at the end.
        tableau: pair of Runge-Kutta methods.
        rtol: error of a step relative to |z|.
        atol: absolute error of a step; `norm` gets the error over atol + rtol |z|.
        first_step: size of the first step, above 0.
        growth: largest factor from one step size to the next.
        norm: function from scaled errors (B, ...) to (B,) in float64; a step is accepted where it is at
            most 1.

    Raises:
        ShortStepError: if a step would have to be shorter than MIN_STEP.
    """
    direction = 1.0 if end > start else -1.0
    u = torch.full((len(z),), start, dtype=torch.float64, device=z.device)
    left = torch.full_like(u, direction * (end - start))
    h = torch.full_like(u, first_step)
    values = field(z, u)
    farthest = start
    yield Front(z, u, values, farthest)
    while direction * (end - farthest) > 0:
        h = torch.minimum(h, left)
        step = direction * h
        slopes = [values[0]]
        for row in tableau.rows:  # the last stage is at the end of the step
            ahead = z + like(step, z) * weighted_sum(row, slopes)
            values_ahead = field(ahead, u + sum(row) * step)
            slopes.append(values_ahead[0])
        tolerance = atol + rtol * torch.maximum(z.abs(), ahead.abs())
        error = norm(like(h, z) * weighted_sum(tableau.error, slopes) / tolerance)
        accepted = (error <= 1) & (h > 0)
        mask = accepted.reshape(-1, *[1] * (z.ndim - 1))
        z = torch.where(mask, ahead, z)
        values = tuple(torch.where(mask, new, old) for new, old in zip(values_ahead, values, strict=True))
        u = torch.where(accepted, torch.where(h < left, u + step, end), u)
        left = direction * (end - u)
        h = h * (SAFETY_FACTOR * error ** (-1 / tableau.order)).clamp(MIN_STEP_FACTOR, growth)
        slowest = (direction * u).min()
        shortest = torch.where(left > 0, h, torch.inf).min()
        slowest, shortest = torch.stack([slowest, shortest]).tolist()
        farthest = direction * slowest
        if not shortest > MIN_STEP:
            raise ShortStepError(farthest)
        yield Front(z, u, values, farthest)


def weighted_sum(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    """Return the weighted sum of slopes; terms with a weight of 0 are skipped."""
    return sum(slope * weight for weight, slope in zip(weights, slopes, strict=True) if weight)
