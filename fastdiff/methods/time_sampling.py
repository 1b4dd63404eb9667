"""Laws of the times that a method trains at."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..core.errors import FastdiffError
from ..core.prediction import ratio_of
from ..core.schedule import Karras, Schedule

TIME_LAWS: dict[str, type] = {}


def level(schedule: Schedule, share: Tensor) -> Tensor:
    """The time at this share of a schedule's levels of noise: of t_max, or where t is sigma itself of EDM's grid.

    (Karras et al. 2022, equation 5, from sigma = 0.002 on: of its t_max half would be above 40.)
    """
    if isinstance(schedule, Karras):
        low, high = (end ** (1 / 7) for end in (0.002, schedule.t_max))
        return (low + share * (high - low)) ** 7
    return schedule.t_max * share


@dataclass(frozen=True)
class Law:
    """A law without a memory, of times between t_min and 1 (in units of t_max)."""

    registry: ClassVar[dict[str, type]] = TIME_LAWS

    def memory(self) -> nn.Module | None:
        return None

    def pair(self, rng, schedule):
        """A time and, of a law on a grid, the grid's next below; else None."""
        return self.draw(rng, schedule)[0], None


@dataclass(frozen=True)
class Uniform(Law):
    """Uniform among a schedule's levels; t_min and t_top are shares of them, see `level`."""

    t_min: float = 1e-3
    t_top: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.t_min < self.t_top <= 1:
            raise FastdiffError(
                f"times: uniform needs 0 <= t_min < t_top <= 1, got {self.t_min} and {self.t_top}"
            )

    def draw(self, rng, schedule, memory=None):
        return level(schedule, self.t_min + (self.t_top - self.t_min) * rng.uniform()), None


@dataclass(frozen=True)
class LogNormal(Law):
    """ln(sigma / alpha) ~ N(mean, std^2) (Karras et al. 2022)."""

    mean: float = -1.2
    std: float = 1.2

    def draw(self, rng, schedule, memory=None):
        ratio = (self.mean + self.std * rng.normal().double()).exp()
        return schedule.time_of(ratio).clamp(max=schedule.t_max), None


@dataclass(frozen=True)
class LogitNormal(Law):
    """The logit of the share of the schedule's levels, t / t_max as a rule, ~ N(mean, std^2) (Esser et al. 2024)."""

    mean: float = 0.0
    std: float = 1.0

    def draw(self, rng, schedule, memory=None):
        return level(schedule, (self.mean + self.std * rng.normal().double()).sigmoid()), None


@dataclass(frozen=True)
class StudentT(Law):
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

    def draw(self, rng, schedule, memory=None):
        u, width = rng.uniform(), self.scale * math.sqrt(self.df)
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
class KarrasIndex(Law):
    """A point of a grid in sigma / alpha (Karras et al. 2022, equation 5), each but the lowest equally likely.

    The grid ends at the schedule's own t_max where that comes before sigma_max.
    """

    points: int = 18
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        if self.points < 2:
            raise FastdiffError(f"times: points = {self.points}, expected at least 2")
        if not (0 < self.sigma_min < self.sigma_max < math.inf and self.rho > 0):
            raise FastdiffError(
                f"times: sigma_min = {self.sigma_min}, sigma_max = {self.sigma_max}, rho = {self.rho}: "
                "expected 0 < sigma_min < sigma_max and rho above 0"
            )

    def ratios(self, schedule) -> Tensor:
        """sigma / alpha of the grid, rising."""
        top = min(
            self.sigma_max, float(ratio_of(schedule, torch.tensor(schedule.t_max, dtype=torch.float64)))
        )
        ends = (end ** (1 / self.rho) for end in (self.sigma_min, top))
        return torch.linspace(*ends, self.points, dtype=torch.float64) ** self.rho

    def index(self, rng, ratios: Tensor) -> Tensor:
        """Numbers of the lower points."""
        return rng.integers(0, self.points - 1)

    def pair(self, rng, schedule):
        ratios = self.ratios(schedule)
        i = self.index(rng, ratios)
        grid = schedule.time_of(ratios).clamp(max=schedule.t_max).to(i.device)
        return grid[i + 1], grid[i]

    def draw(self, rng, schedule, memory=None):
        return self.pair(rng, schedule)[0], None


@dataclass(frozen=True)
class LogNormalIndex(KarrasIndex):
    """A point of that grid, as likely as ln(sigma / alpha) ~ N(mean, std^2) falls below it and not below the next.

    (Song & Dhariwal 2023, iCT, section 3.5.)
    """

    mean: float = -1.1
    std: float = 2.0

    def index(self, rng, ratios):
        u = rng.uniform()
        below = torch.erf((ratios.log() - self.mean) / (math.sqrt(2) * self.std)).to(u.device)
        return torch.searchsorted(below[1:].contiguous(), torch.lerp(below[0], below[-1], u)).clamp(
            max=self.points - 2
        )


@dataclass(frozen=True)
class Importance(Law):
    """Times in proportion to the root of the loss's second moment there (Nichol & Dhariwal 2021, section 3.3)."""

    bins: int = 64
    decay: float = 0.9
    uniform_share: float = 0.001

    def memory(self):
        return LossMemory(self.bins, self.decay)

    def draw(self, rng, schedule, memory):
        share = memory.shares(self.uniform_share)
        bin_of = torch.searchsorted(share.cumsum(0), rng.uniform().to(share.device)).clamp(max=self.bins - 1)
        t = schedule.t_max * (bin_of + rng.uniform()) / self.bins
        return t, 1 / (self.bins * share[bin_of])


class LossMemory(nn.Module):
    """A running second moment of the loss by time bin, the same on every process."""

    def __init__(self, bins: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("moment", torch.zeros(bins, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(bins, dtype=torch.int64))

    def shares(self, uniform_share: float) -> Tensor:
        if self.count.min() < 10:  # until every bin is known
            return torch.full_like(self.moment, 1 / len(self.moment))
        root = self.moment.sqrt()
        return (1 - uniform_share) * root / root.sum() + uniform_share / len(root)

    def root(self, fraction: Tensor) -> Tensor:
        """The root of the moment (B,) at times fraction (B,) of t_max."""
        return self.moment[self.bin_of(fraction)].sqrt().clamp(min=1e-12)

    def bin_of(self, fraction: Tensor) -> Tensor:
        return (fraction * len(self.moment)).long().clamp(0, len(self.moment) - 1)

    @torch.no_grad()
    def record(self, loss: Tensor, fraction: Tensor) -> None:
        """loss (B,) at times fraction (B,) of t_max."""
        known = loss.isfinite()  # one bad example would be remembered for ever
        loss, fraction = loss[known], fraction[known]
        bins = self.bin_of(fraction)
        sums = torch.stack(
            [
                torch.zeros_like(self.moment).index_add_(0, bins, v)
                for v in (loss.double().square(), torch.ones_like(loss, dtype=torch.float64))
            ]
        )
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        total, seen = sums
        fresh = total / seen.clamp(min=1)
        blend = self.decay * (self.count > 0).to(self.moment)
        self.moment.copy_(torch.where(seen > 0, blend * self.moment + (1 - blend) * fresh, self.moment))
        self.count.add_(seen.long())


TIME_LAWS |= {
    "uniform": Uniform,
    "lognormal": LogNormal,
    "logit_normal": LogitNormal,
    "student_t": StudentT,
    "karras": KarrasIndex,
    "karras_lognormal": LogNormalIndex,
    "importance": Importance,
}
