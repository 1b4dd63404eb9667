"""Laws of the times that a method trains at."""

import math
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from ..core.errors import FastdiffError
from ..core.prediction import ratio_of
from ..core.rng import SampleRng
from ..core.schedule import Karras, Schedule
from ..core.validation import check_bounds
from .loss_memory import LossSecondMoments

TIME_DISTRIBUTIONS: dict[str, type["TimeDistribution"]] = {}
IMPORTANCE_DISTRIBUTIONS: dict[str, type["Importance"]] = {}

# Times (B,) and the weight (B,) that each example's loss is to have, None if that is 1 for all.
Draw = tuple[Tensor, Tensor | None]


def level(schedule: Schedule, share: Tensor) -> Tensor:
    """Return the time at this share of a schedule's noise levels: share t_max, but for Karras' schedule.

    There t is sigma itself, half of all times would be above 40, and the share is one of EDM's grid from
    sigma = 0.002 on (Karras et al. 2022, equation 5).
    """
    if isinstance(schedule, Karras):
        low, high = (end ** (1 / 7) for end in (0.002, schedule.t_max))
        return (low + share * (high - low)) ** 7
    return schedule.t_max * share


@dataclass(frozen=True)
class DenoisingTimeDistribution:
    """A law of times that denoising can train at: any `Law`, or `Importance`, which learns from losses."""

    # What a recipe may name: the laws without memory first, as far as they are known when it is read.
    registry: ClassVar[Mapping[str, type]] = ChainMap(IMPORTANCE_DISTRIBUTIONS, TIME_DISTRIBUTIONS)

    def loss_moments(self) -> LossSecondMoments | None:
        """Return what the law learns from the losses, as a new network of the training; None if nothing."""
        return None

    def draw(self, rng: SampleRng, schedule: Schedule, loss_moments: LossSecondMoments | None = None) -> Draw:
        """Draw a time for each example.

        Args:
            rng: the examples' streams.
            schedule: whose times are drawn.
            memory: what `memory` returned, of a law that learns.

        Returns:
            Times (B,) between 0 and t_max, float64, and the weights (B,) that make the weighted mean of a
            loss that of uniform times; None if the law itself weighs the times.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class TimeDistribution(DenoisingTimeDistribution):
    """A law of times without memory, which any method can train at."""

    registry: ClassVar[Mapping[str, type]] = TIME_DISTRIBUTIONS

    def pair(self, rng: SampleRng, schedule: Schedule) -> tuple[Tensor, Tensor | None]:
        """Draw times (B,) and, of a law on a grid, the grid's points (B,) below them; else None."""
        return self.draw(rng, schedule)[0], None


@dataclass(frozen=True)
class Uniform(TimeDistribution):
    """Uniform among a schedule's noise levels, from the share t_min of them to t_top; see `level`."""

    t_min: float = 1e-3
    t_top: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.t_min < self.t_top <= 1:
            raise FastdiffError(
                f"times: uniform needs 0 <= t_min < t_top <= 1, got {self.t_min} and {self.t_top}"
            )

    @override
    def draw(self, rng: SampleRng, schedule: Schedule, loss_moments: LossSecondMoments | None = None) -> Draw:
        return level(schedule, self.t_min + (self.t_top - self.t_min) * rng.uniform()), None


@dataclass(frozen=True)
class LogNormal(TimeDistribution):
    """ln(sigma / alpha) ~ N(mean, std^2) (Karras et al. 2022)."""

    mean: float = -1.2
    std: float = 1.2

    @override
    def draw(self, rng: SampleRng, schedule: Schedule, loss_moments: LossSecondMoments | None = None) -> Draw:
        ratio = (self.mean + self.std * rng.normal().double()).exp()
        return schedule.time_of(ratio).clamp(max=schedule.t_max), None


@dataclass(frozen=True)
class LogitNormal(TimeDistribution):
    """The logit of the share of the noise levels, as a rule t / t_max, ~ N(mean, std^2).

    (Esser et al. 2024.)
    """

    mean: float = 0.0
    std: float = 1.0

    @override
    def draw(self, rng: SampleRng, schedule: Schedule, loss_moments: LossSecondMoments | None = None) -> Draw:
        return level(schedule, (self.mean + self.std * rng.normal().double()).sigmoid()), None


@dataclass(frozen=True)
class StudentT(TimeDistribution):
    """ln(sigma / alpha) ~ loc + scale Student-t(df), cut to ln low ... ln high (Lee et al. 2025, TCM)."""

    loc: float = 0.0
    scale: float = 0.2
    df: float = 0.01
    low: float = 1.0
    high: float = 80.0

    def __post_init__(self) -> None:
        if not (0 < self.low < self.high < math.inf and self.scale > 0 and self.df > 0):
            raise FastdiffError(
                f"times: student_t needs 0 < low < high, scale and df above 0, got low = {self.low}, "
                f"high = {self.high}, scale = {self.scale}, df = {self.df}"
            )

    @override
    def draw(self, rng: SampleRng, schedule: Schedule, loss_moments: LossSecondMoments | None = None) -> Draw:
        u = rng.uniform()
        width = self.scale * math.sqrt(self.df)
        # In z with ln ratio = loc + width sinh z the density is cosh(z)^-df, smooth however heavy the tail:
        # invert its sum.
        ends = [math.asinh((math.log(end) - self.loc) / width) for end in (self.low, self.high)]
        z = torch.linspace(*ends, 4097, dtype=torch.float64, device=u.device)
        mass = torch.cat([z.new_zeros(1), torch.cumulative_trapezoid(z.cosh() ** -self.df, z)])
        u = u * mass[-1]
        i = torch.searchsorted(mass, u).clamp(1, len(z) - 1)
        z = torch.lerp(z[i - 1], z[i], (u - mass[i - 1]) / (mass[i] - mass[i - 1]))
        return schedule.time_of((self.loc + width * z.sinh()).exp()).clamp(max=schedule.t_max), None


@dataclass(frozen=True)
class KarrasIndex(TimeDistribution):
    """A point of Karras' grid in sigma / alpha, each but the lowest equally likely.

    (Karras et al. 2022, equation 5.) The grid ends at the schedule's own t_max if that comes before
    sigma_max.
    """

    points: Annotated[int, Field(ge=2)] = 18
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        check_bounds(self)
        if not (0 < self.sigma_min < self.sigma_max < math.inf and self.rho > 0):
            raise FastdiffError(
                f"times: sigma_min = {self.sigma_min}, sigma_max = {self.sigma_max}, rho = {self.rho}: "
                "expected 0 < sigma_min < sigma_max and rho above 0"
            )

    def ratios(self, schedule: Schedule) -> Tensor:
        """Return sigma / alpha (points,) of the grid, rising."""
        last = float(ratio_of(schedule, torch.tensor(schedule.t_max, dtype=torch.float64)))
        top = min(self.sigma_max, last)
        ends = (end ** (1 / self.rho) for end in (self.sigma_min, top))
        return torch.linspace(*ends, self.points, dtype=torch.float64) ** self.rho

    def index(self, rng: SampleRng, ratios: Tensor) -> Tensor:
        """Draw the numbers (B,) of the lower points, 0 to points - 2."""
        return rng.integers(0, self.points - 1)

    @override
    def pair(self, rng: SampleRng, schedule: Schedule) -> tuple[Tensor, Tensor]:
        ratios = self.ratios(schedule)
        i = self.index(rng, ratios)
        grid = schedule.time_of(ratios).clamp(max=schedule.t_max).to(i.device)
        return grid[i + 1], grid[i]

    @override
    def draw(self, rng: SampleRng, schedule: Schedule, loss_moments: LossSecondMoments | None = None) -> Draw:
        return self.pair(rng, schedule)[0], None


@dataclass(frozen=True)
class LogNormalIndex(KarrasIndex):
    """A point of Karras' grid, as likely as a normal number falls between the two points at its sides.

    That number is ln(sigma / alpha) ~ N(mean, std^2) (Song & Dhariwal 2023, iCT, section 3.5).
    """

    mean: float = -1.1
    std: float = 2.0

    @override
    def index(self, rng: SampleRng, ratios: Tensor) -> Tensor:
        u = rng.uniform()
        below = torch.erf((ratios.log() - self.mean) / (math.sqrt(2) * self.std)).to(u.device)  # 2 CDF - 1
        mass = torch.lerp(below[0], below[-1], u)
        return torch.searchsorted(below[1:].contiguous(), mass).clamp(max=self.points - 2)


@dataclass(frozen=True)
class Importance(DenoisingTimeDistribution):
    """Times in proportion to the root of the second moment that the loss has there.

    (Nichol & Dhariwal 2021, Improved DDPM, section 3.3.)
    """

    bins: Annotated[int, Field(ge=1)] = 64
    decay: Annotated[float, Field(ge=0, le=1)] = 0.9
    uniform_share: Annotated[float, Field(ge=0, le=1)] = 0.001

    def __post_init__(self) -> None:
        check_bounds(self)

    @override
    def loss_moments(self) -> LossSecondMoments:
        return LossSecondMoments(self.bins, self.decay)

    @override
    def draw(self, rng: SampleRng, schedule: Schedule, loss_moments: LossSecondMoments) -> Draw:
        share = loss_moments.bin_probabilities(self.uniform_share)
        bin_of = torch.searchsorted(share.cumsum(0), rng.uniform().to(share.device)).clamp(max=self.bins - 1)
        t = schedule.t_max * (bin_of + rng.uniform()) / self.bins
        return t, 1 / (self.bins * share[bin_of])


TIME_DISTRIBUTIONS |= {
    "uniform": Uniform,
    "lognormal": LogNormal,
    "logit_normal": LogitNormal,
    "student_t": StudentT,
    "karras": KarrasIndex,
    "karras_lognormal": LogNormalIndex,
}
IMPORTANCE_DISTRIBUTIONS["importance"] = Importance
