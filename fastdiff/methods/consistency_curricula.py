"""Consistency training on grids that grow: CT (Song et al. 2023) and iCT (Song & Dhariwal 2023)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor
from typing_extensions import override

from ..core.errors import FastdiffError
from ..core.prediction import ratio_of
from ..core.rng import SampleRng
from ..core.sampling import Sampling
from ..core.schedule import Schedule
from .base import Progress
from .consistency import FEW_STEPS, Consistency
from .distances import Distance, PseudoHuber, SquaredL2
from .loss_weights import LevelWeight, snr_weight
from .time_sampling import KarrasIndex, LogNormalIndex, TimeDistribution


class DiscreteConsistencyTraining(Consistency):
    """Base class of curricula: t and s are neighbouring points of a grid of N(k) points at step k.

    Subclasses have the fields `s0` and `s1`, between which the number of intervals grows, and `times`, the
    distribution of the upper point.
    """

    s0: int
    s1: int

    training: ClassVar[dict[str, Any]] = {"optimizer": "radam"}
    depends_on_length: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.times, KarrasIndex):
            raise FastdiffError(
                "times: expected a distribution on a grid, karras or karras_lognormal", key="times"
            )
        if not 2 <= self.s0 <= self.s1:
            raise FastdiffError(f"s0 = {self.s0} and s1 = {self.s1}: expected 2 <= s0 <= s1", key="s0")

    @override
    def pair(self, rng: SampleRng, schedule: Schedule, progress: Progress) -> tuple[Tensor, Tensor]:
        return replace(self.times, points=self.points(progress)).pair(rng, schedule)

    def points(self, progress: Progress) -> int:
        """Return N(k), the number of grid points at a progress."""
        raise NotImplementedError

    @override
    def sampling(self) -> Sampling:
        return FEW_STEPS


@dataclass
class CT(DiscreteConsistencyTraining):
    """CT (Song et al. 2023, algorithm 3): consistency training against a running average of the student.

    The loss is weight(SNR) distance(f(x_t, t), f-(x_s, s)) for neighbouring points t > s of a grid of N(k)
    points, which grows from s0 to s1 + 1 as the root of the step k; the decay mu(k) of the average f- grows
    with it from mu0 (appendix C). Needs images and no teacher.

    The defaults are the paper's for CIFAR-10 but for the distance, which is lpips there.

    Args:
        times: distribution of t on the grid, karras or karras_lognormal; its number of points is not used.
        s0, s1: number of intervals of the grid at the start and at the end, 2 <= s0 <= s1.
        mu0: decay of the average at the start, in (0, 1).
        distance: distance between f and its target, a key of DISTANCES.
        weight: weight by noise level: none, truncated_snr or snr_plus_1, of a distance of first degree the
            root, see `snr_weight`.
    """

    times: TimeDistribution = KarrasIndex()
    s0: int = 2
    s1: int = 150
    mu0: Annotated[float, Field(gt=0, lt=1)] = 0.9
    distance: Distance = SquaredL2()
    weight: LevelWeight = "none"

    @override
    def points(self, progress: Progress) -> int:
        square = progress.fraction * ((self.s1 + 1) ** 2 - self.s0**2) + self.s0**2
        return math.ceil(math.sqrt(square) - 1) + 1

    def mu(self, progress: Progress) -> float:
        """Return the decay mu(k) = mu0^(s0 / intervals)."""
        return self.mu0 ** (self.s0 / (self.points(progress) - 1))

    @override
    def target_emas(self) -> dict[str, Callable[[Progress], float]]:
        return {"target": self.mu}

    @override
    def width(self, schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
        return 1 / snr_weight(self.weight, schedule, t, self.distance.degree)


@dataclass
class ICT(DiscreteConsistencyTraining):
    """iCT (Song & Dhariwal 2023): improved consistency training against the student itself.

    The loss is distance(f(x_t, t), sg f(x_s, s)) divided by the difference of sigma / alpha, for neighbouring
    points t > s of a grid whose number of intervals doubles from s0 to s1. Needs images and no teacher.

    Args:
        times: distribution of t on the grid, karras or karras_lognormal; its number of points is not used.
        s0, s1: number of intervals of the grid at the start and at the end, 2 <= s0 <= s1.
        distance: distance between f and its target, a key of DISTANCES.
    """

    times: TimeDistribution = LogNormalIndex()
    s0: int = 10
    s1: int = 1280
    distance: Distance = PseudoHuber()

    @override
    def points(self, progress: Progress) -> int:
        doublings = math.log2(self.s1 // self.s0)
        span = max(1, int(progress.steps / (doublings + 1)))
        return min(self.s0 * 2 ** (progress.step // span), self.s1) + 1

    @override
    def width(self, schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
        return ratio_of(schedule, t) - ratio_of(schedule, s)
