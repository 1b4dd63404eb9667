"""Consistency training on growing grids: CT (Song et al. 2023) and iCT (Song & Dhariwal 2023)."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from ..core.denoiser import ratio_of
from ..core.errors import FastdiffError
from .base import FEW, Consistency, Distance, Law, PseudoHuber, SquaredL2
from .time_sampling import KarrasIndex, LogNormalIndex


class Growing(Consistency):
    """Neighbours on a grid of N(k) points at step k; times is the law of the upper one."""

    training: ClassVar[dict] = {"optimizer": "radam"}

    def __post_init__(self):
        if not isinstance(self.times, KarrasIndex):
            raise FastdiffError("times: expected a law on a grid, karras or karras_lognormal")
        if not 2 <= self.s0 <= self.s1:
            raise FastdiffError(f"s0 = {self.s0} and s1 = {self.s1}: expected 2 <= s0 <= s1")

    def pair(self, rng, schedule, progress):
        return replace(self.times, points=self.points(progress)).pair(rng, schedule)

    def sampling(self):
        return FEW


@dataclass
class CT(Growing):
    """Against a running average of decay mu(k), N(k) from s0 to s1 + 1 as the root of k (algorithm 3, appendix C)."""

    times: Law = KarrasIndex()
    s0: int = 2
    s1: int = 150
    mu0: float = 0.9
    distance: Distance = SquaredL2()

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.mu0 < 1:
            raise FastdiffError(f"mu0 = {self.mu0}: expected a decay, above 0 and below 1")

    def points(self, progress) -> int:
        """N(k)."""
        return math.ceil(math.sqrt(progress.fraction * ((self.s1 + 1) ** 2 - self.s0**2) + self.s0**2) - 1) + 1

    def mu(self, progress) -> float:
        """mu(k) = mu0^(s0 / intervals)."""
        return self.mu0 ** (self.s0 / (self.points(progress) - 1))

    def averages(self):
        return {"target": self.mu}


@dataclass
class ICT(Growing):
    """Against the student itself, N(k) doubling from s0 + 1 to s1 + 1; the distance over the gap in sigma / alpha."""

    times: Law = LogNormalIndex()
    s0: int = 10
    s1: int = 1280
    distance: Distance = PseudoHuber()

    def points(self, progress) -> int:
        """N(k)."""
        span = max(1, int(progress.steps / (math.log2(self.s1 // self.s0) + 1)))
        return min(self.s0 * 2 ** (progress.step // span), self.s1) + 1

    def width(self, schedule, t, s):
        return ratio_of(schedule, t) - ratio_of(schedule, s)
