"""The time distributions of the methods, by name."""

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

# Times (B,), and the weights (B,) of the examples' losses; None for weights of 1.
Draw = tuple[Tensor, Tensor | None]


def level(schedule: Schedule, fraction: Tensor) -> Tensor:
    """Return the times (B,) at fractions (B,) of a schedule's noise levels: fraction * t_max, except Karras'.

    For Karras' schedule t is sigma itself and half of such times would be above 40; there the fraction is the
    place on EDM's grid, which begins at sigma = 0.002 (Karras et al. 2022, equation 5).

    Args:
        schedule: schedule of the times.
        fraction: fractions (B,) in [0, 1], 1 for the largest noise level.
    """
    if isinstance(schedule, Karras):
        low, high = (end ** (1 / 7) for end in (0.002, schedule.t_max))
        return (low + fraction * (high - low)) ** 7
    return schedule.t_max * fraction


@dataclass(frozen=True)
class DenoisingTimeDistribution:
    """Base class of time distributions for denoising: any TimeDistribution, or Importance."""

    # Names that a recipe may use; a ChainMap, so that later registered distributions are included.
    registry: ClassVar[Mapping[str, type]] = ChainMap(IMPORTANCE_DISTRIBUTIONS, TIME_DISTRIBUTIONS)

    def loss_moments(self) -> LossSecondMoments | None:
        """Return the statistics of losses that the distribution depends on, new; None if it has none."""
        return None

    def draw(self, rng: SampleRng, schedule: Schedule, loss_moments: LossSecondMoments | None = None) -> Draw:
        """Draw a time for each example.

        Args:
            rng: random streams of the examples.
            schedule: schedule of the times.
            loss_moments: statistics that `loss_moments` returned, for a distribution that needs them.

        Returns:
            Times (B,) in [0, t_max], float64, and the weights (B,) with which the mean loss is that of
            uniform times; None for weights of 1.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class TimeDistribution(DenoisingTimeDistribution):
    """Base class of time distributions that do not depend on the losses; every method takes them."""

    registry: ClassVar[Mapping[str, type]] = TIME_DISTRIBUTIONS

    def pair(self, rng: SampleRng, schedule: Schedule) -> tuple[Tensor, Tensor | None]:
        """Draw times (B,) and, for a distribution on a grid, the grid's points (B,) below them; else None."""
        return self.draw(rng, schedule)[0], None


@dataclass(frozen=True)
class Uniform(TimeDistribution):
    """The uniform distribution of noise levels between two fractions of a schedule's levels, see `level`.

    Args:
        t_min: smallest fraction, at least 0.
        t_top: largest fraction, above t_min and at most 1.
    """

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
    """The log-normal distribution ln(sigma / alpha) ~ N(mean, std^2) (Karras et al. 2022).

    Args:
        mean: mean of ln(sigma / alpha).
        std: standard deviation of ln(sigma / alpha).
    """

    mean: float = -1.2
    std: float = 1.2

    @override
    def draw(self, rng: SampleRng, schedule: Schedule, loss_moments: LossSecondMoments | None = None) -> Draw:
        ratio = (self.mean + self.std * rng.normal().double()).exp()
        return schedule.time_of(ratio).clamp(max=schedule.t_max), None


@dataclass(frozen=True)
class LogitNormal(TimeDistribution):
    """The logit-normal distribution logit(fraction) ~ N(mean, std^2) of noise levels (Esser et al. 2024).

    Args:
        mean: mean of the logit of the fraction, which is t / t_max for most schedules; see `level`.
        std: standard deviation of the logit.
    """

    mean: float = 0.0
    std: float = 1.0

    @override
    def draw(self, rng: SampleRng, schedule: Schedule, loss_moments: LossSecondMoments | None = None) -> Draw:
        return level(schedule, (self.mean + self.std * rng.normal().double()).sigmoid()), None


@dataclass(frozen=True)
class StudentT(TimeDistribution):
    """The truncated distribution ln(sigma / alpha) ~ loc + scale Student-t(df) (Lee et al. 2025, TCM).

    Args:
        loc: centre of ln(sigma / alpha).
        scale: scale of ln(sigma / alpha), above 0.
        df: degrees of freedom, above 0.
        low: smallest sigma / alpha, above 0.
        high: largest sigma / alpha, above low.
    """

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
        # In z, where ln ratio = loc + width sinh z, the density is cosh(z)^-df, smooth even for heavy tails:
        # integrate it numerically and invert.
        ends = [math.asinh((math.log(end) - self.loc) / width) for end in (self.low, self.high)]
        z = torch.linspace(*ends, 4097, dtype=torch.float64, device=u.device)
        mass = torch.cat([z.new_zeros(1), torch.cumulative_trapezoid(z.cosh() ** -self.df, z)])
        u = u * mass[-1]
        i = torch.searchsorted(mass, u).clamp(1, len(z) - 1)
        z = torch.lerp(z[i - 1], z[i], (u - mass[i - 1]) / (mass[i] - mass[i - 1]))
        return schedule.time_of((self.loc + width * z.sinh()).exp()).clamp(max=schedule.t_max), None


@dataclass(frozen=True)
class KarrasIndex(TimeDistribution):
    """The uniform distribution of points above the lowest on Karras' grid (Karras et al. 2022, equation 5).

    The points are sigma / alpha from sigma_min to sigma_max, or to the schedule's largest if that is less.

    Args:
        points: number of points, at least 2.
        sigma_min: smallest sigma / alpha, above 0.
        sigma_max: largest sigma / alpha, above sigma_min.
        rho: exponent of the grid, above 0; 1 for equal strides.
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
        """Return the values of sigma / alpha (points,) of the grid, in rising order."""
        last = float(ratio_of(schedule, torch.tensor(schedule.t_max, dtype=torch.float64)))
        top = min(self.sigma_max, last)
        ends = (end ** (1 / self.rho) for end in (self.sigma_min, top))
        return torch.linspace(*ends, self.points, dtype=torch.float64) ** self.rho

    def index(self, rng: SampleRng, ratios: Tensor) -> Tensor:
        """Draw the numbers (B,) of the lower of two neighbouring points, 0 to points - 2."""
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
    """The log-normal distribution ln(sigma / alpha) ~ N(mean, std^2), discretized on Karras' grid.

    The probability of two neighbouring points is that of the interval between them (Song & Dhariwal 2023,
    iCT, section 3.5). The settings of the grid are those of KarrasIndex.

    Args:
        mean: mean of ln(sigma / alpha).
        std: standard deviation of ln(sigma / alpha).
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
    """Importance sampling of times in proportion to the root of the second moment of the loss.

    (Nichol & Dhariwal 2021, Improved DDPM, section 3.3.)

    Args:
        bins: number of bins of [0, t_max], at least 1.
        decay: decay of the running second moment, in [0, 1].
        uniform_share: fraction of the probability that is uniform, in [0, 1].
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
        probability = loss_moments.bin_probabilities(self.uniform_share)
        bin_of = torch.searchsorted(probability.cumsum(0), rng.uniform().to(probability.device)).clamp(
            max=self.bins - 1
        )
        t = schedule.t_max * (bin_of + rng.uniform()) / self.bins
        return t, 1 / (self.bins * probability[bin_of])


TIME_DISTRIBUTIONS |= {
    "uniform": Uniform,
    "lognormal": LogNormal,
    "logit_normal": LogitNormal,
    "student_t": StudentT,
    "karras": KarrasIndex,
    "karras_lognormal": LogNormalIndex,
}
IMPORTANCE_DISTRIBUTIONS["importance"] = Importance
