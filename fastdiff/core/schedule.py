"""Noise schedules: x_t = alpha(t) x0 + sigma(t) eps, with t = 0 data and t = t_max noise."""

import math
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from .betas import BETAS, to_zero
from .broadcast import like
from .errors import FastdiffError
from .validation import check_bounds

MAX_ENTRIES = 100_000  # entries of a table
Beta = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Schedule:
    """Two functions of time, their rates, and the inverse of ratio = sigma / alpha.

    Times are tensors of any shape, 0-dim float64 on the CPU in samplers and (B,) in training.
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
        """Training timesteps that t_max is divided into, where a network or a grid counts in them."""
        return 1000

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha and sigma at time t, tensors of its shape."""
        raise NotImplementedError

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return d alpha / dt and d sigma / dt at time t."""
        raise NotImplementedError

    def time_of(self, ratio: Tensor) -> Tensor:
        """Return the time at which sigma / alpha equals ratio."""
        raise NotImplementedError

    def straight(self, t: Tensor) -> Tensor:
        """Return sigma / (alpha + sigma), the time on flow matching's straight line of the same mixture."""
        alpha, sigma = self.alpha_sigma(t)
        return sigma / (alpha + sigma)

    def time_of_flow(self, u: Tensor) -> Tensor:
        """Return the time at which `straight` is u, from 0 to t_max."""
        return self.time_of(u / (1 - u)).clamp(0, self.t_max)

    def levels(self, times: Tensor) -> list[tuple[float, float]]:
        """Return (alpha, sigma) at each time of a grid as numbers, for a sampler's coefficients."""
        return list(zip(*(level.tolist() for level in self.alpha_sigma(times)), strict=True))

    def mix(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Return x_t of clean data x0 and noise eps."""
        alpha, sigma = self.alpha_sigma(t)
        return like(alpha, x0) * x0 + like(sigma, x0) * eps

    def velocity(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Return d x_t / dt along the path of this x0 and eps."""
        alpha_rate, sigma_rate = self.rates(t)
        return like(alpha_rate, x0) * x0 + like(sigma_rate, x0) * eps


@dataclass(frozen=True)
class Flow(Schedule):
    """Flow matching's straight line, alpha = 1 - t and sigma = t (Lipman et al. 2023).

    shift: sigma = shift t / (1 + (shift - 1) t), more noise at every t where it is above 1 (Esser et al.
    2024, equation 23).
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
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2) (Salimans & Ho 2022, section 3)."""

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
    """alpha^2 falls as a sigmoid from 1 to 0 (Jabri et al. 2023, scalable adaptive computation)."""

    start: float = -3.0
    end: float = 3.0
    tau: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (-100 <= self.start < self.end <= 100 and 0.1 <= self.tau <= 10):
            raise FastdiffError(
                f"schedule sigmoid: start = {self.start}, end = {self.end}, tau = {self.tau}, expected "
                "-100 <= start < end <= 100 and tau from 0.1 to 10"
            )

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The sigmoid at start and end."""
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
    """Variance preserving with beta(t) linear in continuous time (Song et al. 2021)."""

    beta_min: Annotated[float, Field(gt=0, lt=1)] = 0.1
    beta_max: Annotated[float, Field(ge=1, le=1000)] = 20.0  # beyond, alpha is 0 well before t = 1

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
    """Variance exploding with t = sigma (Karras et al. 2022)."""

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
    """TrigFlow: alpha = cos t, sigma = sigma_data sin t (Lu & Song 2024)."""

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
    """The training table of Ho et al. 2020: t = i + 1 is training timestep i, and t = 0 is clean data.

    alpha is linear between neighbours of the table, which is built once. kind: a key of BETAS; cosine has no
    beta_start and beta_end. betas, where given, stand in place of those. zero_terminal_snr: alpha is 0 at
    t_max.
    """

    t_max: Annotated[float, Field(ge=1, le=MAX_ENTRIES, multiple_of=1)] = 1000.0
    beta_start: Beta = 1e-4
    beta_end: Beta = 2e-2
    betas: tuple[Beta, ...] = field(default=(), repr=False)
    kind: Literal["linear", "scaled_linear", "cosine", "sigmoid"] = "linear"
    zero_terminal_snr: bool = False

    def __post_init__(self) -> None:
        if self.kind not in BETAS:
            raise FastdiffError(
                f"schedule ddpm: kind {self.kind!r} is unknown, choose from {', '.join(BETAS)}"
            )
        super().__post_init__()

    @property
    @override
    def timesteps(self) -> int:
        return int(self.t_max)

    @cached_property
    def table(self) -> Tensor:
        """alpha (t_max + 1,) at every training timestep, 1 at t = 0."""
        betas = (
            torch.tensor(self.betas, dtype=torch.float64)
            if self.betas
            else BETAS[self.kind](int(self.t_max), self.beta_start, self.beta_end)
        )
        if len(betas) != self.t_max:
            raise FastdiffError(
                f"schedule ddpm: {len(betas)} betas, expected t_max = {int(self.t_max)} of them"
            )
        alpha = (1 - betas).cumprod(0).sqrt()
        return torch.cat([alpha.new_ones(1), to_zero(alpha) if self.zero_terminal_snr else alpha])

    def around(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return alpha at the table's entries below and above t, and how far t is between them."""
        table, low = self.table.to(t.device), t.double().floor().clamp(0, self.t_max - 1).long()
        return table[low], table[low + 1], t.double() - low

    @override
    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha = torch.lerp(*self.around(t))
        return alpha, (1 - alpha**2).sqrt()

    @override
    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        below, above, _ = self.around(t)
        alpha, sigma = self.alpha_sigma(t)
        return above - below, -alpha * (above - below) / sigma

    @override
    def time_of(self, ratio: Tensor) -> Tensor:
        table, alpha = self.table.to(ratio.device), (1 + ratio.double() ** 2).rsqrt()
        high = torch.searchsorted(-table, -alpha.contiguous()).clamp(1, int(self.t_max))
        return high - (alpha - table[high]) / (table[high - 1] - table[high])


SCHEDULES: dict[str, type[Schedule]] = {
    kind.__name__.lower(): kind for kind in (DDPM, Cosine, Sigmoid, VP, Flow, Karras, Trig)
}
