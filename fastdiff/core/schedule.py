"""Noise schedules: x_t = alpha(t) x0 + sigma(t) eps, with t = 0 data and t = t_max noise."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from .betas import BETAS, with_zero_terminal_snr
from .errors import FastdiffError
from .interpolation import alpha_between, alpha_slope, fraction_at
from .registry import Registry
from .schedule_base import Schedule
from .wording import suggestion

MAX_ENTRIES = 100_000  # bound of the number of entries of a table
LEAST_ALPHA = 2**-12  # of diffusers' schedulers in sigma, whose first level is finite
Beta = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Flow(Schedule):
    """Flow matching's straight path, alpha = 1 - t and sigma = t (Lipman et al. 2023).

    Args:
        t_max: time of the most noise, at most 1.
        shift: s in sigma = s t / (1 + (s - 1) t); above 1 every time has more noise (Esser et al. 2024,
            equation 23).
    """

    shift: Annotated[float, Field(gt=0)] = 1.0

    @override
    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        whole = (1 - t) + self.shift * t  # so that alpha is exactly 0, and sigma 1, at t = 1
        return (1 - t) / whole, self.shift * t / whole

    @override
    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        slope = self.shift / ((1 - t) + self.shift * t) ** 2
        return -slope, slope

    @override
    def time_of(self, ratio: Tensor) -> Tensor:
        return 1 / (1 + self.shift / ratio)


@dataclass(frozen=True)
class Cosine(Schedule):
    """The cosine schedule, alpha = cos(pi t / 2), sigma = sin(pi t / 2) (Salimans & Ho 2022, section 3).

    Args:
        t_max: time of the most noise, at most 1.
    """

    @override
    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        # sin(pi (1 - t) / 2) is the cosine, and exactly zero at t = 1.
        return (math.pi / 2 * (1 - t)).sin(), (math.pi / 2 * t).sin()

    @override
    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -math.pi / 2 * (math.pi / 2 * t).sin(), math.pi / 2 * (math.pi / 2 * (1 - t)).sin()

    @override
    def time_of(self, ratio: Tensor) -> Tensor:
        return ratio.atan() * 2 / math.pi


@dataclass(frozen=True)
class Sigmoid(Schedule):
    """The sigmoid schedule: alpha^2 falls as a sigmoid from 1 to 0 (Jabri et al. 2023).

    alpha^2 = (g(end) - g(start + t (end - start))) / (g(end) - g(start)), with g(u) = sigmoid(u / tau).

    Args:
        t_max: time of the most noise, at most 1.
        start: argument of the sigmoid at t = 0.
        end: argument of the sigmoid at t = 1.
        tau: temperature, 0.1 to 10.
    """

    start: float = -3.0
    end: float = 3.0
    tau: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (-100 <= self.start < self.end <= 100 and 0.1 <= self.tau <= 10):
            raise FastdiffError(
                f"schedule sigmoid: start = {self.start}, end = {self.end}, tau = {self.tau}: expected "
                "-100 <= start < end <= 100 and tau from 0.1 to 10"
            )

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The values of the sigmoid at start and end."""
        return tuple(1 / (1 + math.exp(-end / self.tau)) for end in (self.start, self.end))

    @override
    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.ends
        u = ((t * (self.end - self.start) + self.start) / self.tau).sigmoid()
        return ((high - u) / (high - low)).clamp(0, 1).sqrt(), ((u - low) / (high - low)).clamp(0, 1).sqrt()

    @override
    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.ends
        u = ((t * (self.end - self.start) + self.start) / self.tau).sigmoid()
        slope = u * (1 - u) * (self.end - self.start) / self.tau / (high - low)  # of sigma^2
        alpha, sigma = self.alpha_sigma(t)
        return -slope / (2 * alpha), slope / (2 * sigma)

    @override
    def time_of(self, ratio: Tensor) -> Tensor:
        low, high = self.ends
        u = low + (high - low) * (1 - 1 / (1 + ratio**2))
        return ((u / (1 - u)).log() * self.tau - self.start) / (self.end - self.start)


@dataclass(frozen=True)
class VP(Schedule):
    """The variance-preserving schedule with beta(t) linear in continuous time (Song et al. 2021).

    Args:
        t_max: time of the most noise, at most 1.
        beta_min: beta at t = 0.
        beta_max: beta at t = 1.
    """

    beta_min: Annotated[float, Field(gt=0, lt=1)] = 0.1
    beta_max: Annotated[float, Field(ge=1, le=1000)] = 20.0  # above, alpha is 0 well before t = 1

    @override
    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        integral = 0.5 * (self.beta_max - self.beta_min) * t**2 + self.beta_min * t
        return (-0.5 * integral).exp(), (-(-integral).expm1()).sqrt()

    @override
    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        half_beta = 0.5 * ((self.beta_max - self.beta_min) * t + self.beta_min)
        alpha, sigma = self.alpha_sigma(t)
        return -half_beta * alpha, half_beta * alpha**2 / sigma

    @override
    def time_of(self, ratio: Tensor) -> Tensor:
        integral, slope = (ratio**2).log1p(), self.beta_max - self.beta_min
        return ((self.beta_min**2 + 2 * slope * integral).sqrt() - self.beta_min) / slope


@dataclass(frozen=True)
class Karras(Schedule):
    """The variance-exploding schedule with alpha = 1 and sigma = t (Karras et al. 2022).

    Args:
        t_max: largest sigma.
    """

    t_max: Annotated[float, Field(gt=0, le=1e6)] = 80.0

    @override
    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), t

    @override
    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(t), torch.ones_like(t)

    @override
    def time_of(self, ratio: Tensor) -> Tensor:
        return ratio


@dataclass(frozen=True)
class Trig(Schedule):
    """The TrigFlow schedule, alpha = cos t, sigma = sigma_data sin t (Lu & Song 2024).

    Args:
        t_max: time of the most noise, at most pi / 2.
        sigma_data: standard deviation of the data.
    """

    t_max: Annotated[float, Field(gt=0, le=math.pi / 2)] = math.pi / 2
    sigma_data: Annotated[float, Field(gt=0)] = 1.0

    @override
    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return (math.pi / 2 - t).sin(), self.sigma_data * t.sin()

    @override
    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -t.sin(), self.sigma_data * (math.pi / 2 - t).sin()

    @override
    def time_of(self, ratio: Tensor) -> Tensor:
        return (ratio / self.sigma_data).atan()


@dataclass(frozen=True)
class DDPM(Schedule):
    """The table of betas of Ho et al. 2020: t = i + 1 is training timestep i, and t = 0 is clean data.

    Between the entries of the table alpha is linear, or what `between` says.

    Args:
        t_max: number of training timesteps.
        beta_start: first beta; ignored by kind cosine.
        beta_end: last beta; ignored by kind cosine.
        betas: all betas (t_max of them), which replace kind, beta_start and beta_end.
        kind: form of the table of betas: linear, scaled_linear, cosine or sigmoid.
        zero_terminal_snr: rescale alpha so that it is 0 at t_max (Lin et al. 2023), or 2^-12 where `between`
            is not alpha, as in diffusers' schedulers in sigma.
        between: what is linear between the entries: alpha, ratio (sigma / alpha) or log_ratio.
    """

    t_max: Annotated[float, Field(ge=1, le=MAX_ENTRIES, multiple_of=1)] = 1000.0
    beta_start: Beta = 1e-4
    beta_end: Beta = 2e-2
    betas: tuple[Beta, ...] = field(default=(), repr=False)
    kind: Literal["linear", "scaled_linear", "cosine", "sigmoid"] = "linear"
    zero_terminal_snr: bool = False
    between: Literal["alpha", "ratio", "log_ratio"] = field(default="alpha", repr=False)

    def __post_init__(self) -> None:
        if self.kind not in BETAS:
            raise FastdiffError(
                f"schedule ddpm: kind {self.kind!r} is unknown{suggestion(self.kind, list(BETAS))}"
            )
        super().__post_init__()

    @property
    @override
    def timesteps(self) -> int:
        return int(self.t_max)

    @cached_property
    def table(self) -> Tensor:
        """The values of alpha (t_max + 1,) at t = 0, where it is 1, and at every training timestep."""
        betas = (
            torch.tensor(self.betas, dtype=torch.float64)
            if self.betas
            else BETAS[self.kind](int(self.t_max), self.beta_start, self.beta_end)
        )
        if len(betas) != self.t_max:
            raise FastdiffError(
                f"schedule ddpm: {len(betas)} betas: expected t_max = {int(self.t_max)} of them"
            )
        alpha = (1 - betas).cumprod(0).sqrt()
        if self.zero_terminal_snr:
            alpha = with_zero_terminal_snr(alpha)
            alpha[-1] = 0.0 if self.between == "alpha" else LEAST_ALPHA
        return torch.cat([alpha.new_ones(1), alpha])

    def table_neighbours(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return alpha at the table's entries below and above t, and the fraction of the way between them."""
        table, low = self.table.to(t.device), t.double().floor().clamp(0, self.t_max - 1).long()
        return table[low], table[low + 1], t.double() - low

    @override
    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha = alpha_between(*self.table_neighbours(t), self.between)
        return alpha, (1 - alpha**2).sqrt()

    @override
    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        slope = alpha_slope(*self.table_neighbours(t), self.between)
        alpha, sigma = self.alpha_sigma(t)
        return slope, -alpha * slope / sigma

    @override
    def time_of(self, ratio: Tensor) -> Tensor:
        table, alpha = self.table.to(ratio.device), (1 + ratio.double() ** 2).rsqrt()
        high = torch.searchsorted(-table, -alpha.contiguous()).clamp(1, int(self.t_max))
        if self.between != "alpha":
            return high - 1 + fraction_at(table[high - 1], table[high], ratio.double(), self.between)
        return high - (alpha - table[high]) / (table[high - 1] - table[high])


SCHEDULES: Registry[type[Schedule]] = Registry(
    {
        "ddpm": DDPM,
        "cosine": Cosine,
        "sigmoid": Sigmoid,
        "vp": VP,
        "flow": Flow,
        "karras": Karras,
        "trig": Trig,
    }
)
