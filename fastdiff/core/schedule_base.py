"""The interface of noise schedules: alpha(t), sigma(t), their derivatives and their inverse."""

import math
from dataclasses import dataclass, fields
from typing import Annotated

from pydantic import Field
from torch import Tensor

from .broadcast import like
from .errors import FastdiffError
from .validation import check_bounds


@dataclass(frozen=True)
class Schedule:
    """A noise schedule: alpha(t) and sigma(t), their derivatives, and the inverse of sigma / alpha.

        schedule = SCHEDULES["flow"](shift=3.0)
        x_t = schedule.mix(x0, eps, t)

    Times are tensors of any shape: 0-dim float64 on the CPU in samplers, (B,) in training.

    Args:
        t_max: time of the most noise; times go from 0 (data) to t_max.

    Raises:
        FastdiffError: for a value out of its range.
    """

    t_max: Annotated[float, Field(gt=0, le=1)] = 1.0

    def __post_init__(self) -> None:
        name = type(self).__name__.lower()
        for own in fields(self):
            value = getattr(self, own.name)
            if isinstance(value, float | int) and not math.isfinite(value):
                raise FastdiffError(f"schedule {name}: {own.name} = {value}: expected a finite number")
        try:
            check_bounds(self)
        except FastdiffError as error:
            raise FastdiffError(f"schedule {name}: {error}") from None

    @property
    def timesteps(self) -> int:
        """The number of training timesteps between 0 and t_max, for networks and grids that count in them."""
        return 1000

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha and sigma at time t, tensors of t's shape."""
        raise NotImplementedError

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return d alpha / dt and d sigma / dt at time t, tensors of t's shape."""
        raise NotImplementedError

    def time_of(self, ratio: Tensor) -> Tensor:
        """Return the time at which sigma / alpha equals a ratio, of the ratio's shape."""
        raise NotImplementedError

    def straight(self, t: Tensor) -> Tensor:
        """Return sigma / (alpha + sigma), the time of the same mixture on flow matching's straight path."""
        alpha, sigma = self.alpha_sigma(t)
        return sigma / (alpha + sigma)

    def time_of_flow(self, u: Tensor) -> Tensor:
        """Return the time from 0 to t_max at which `straight` equals u."""
        return self.time_of(u / (1 - u)).clamp(0, self.t_max)

    def levels(self, times: Tensor) -> list[tuple[float, float]]:
        """Return (alpha, sigma) at each time of a grid (n,) as numbers, for a sampler's coefficients."""
        return list(zip(*(level.tolist() for level in self.alpha_sigma(times)), strict=True))

    def mix(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Return x_t = alpha x0 + sigma eps for clean data and noise (B, ...) and t 0-dim or (B,)."""
        alpha, sigma = self.alpha_sigma(t)
        return like(alpha, x0) * x0 + like(sigma, x0) * eps

    def velocity(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Return d x_t / dt on the path of constant x0 and eps (B, ...), for t 0-dim or (B,)."""
        alpha_rate, sigma_rate = self.rates(t)
        return like(alpha_rate, x0) * x0 + like(sigma_rate, x0) * eps
