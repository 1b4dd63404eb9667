"""What a method is: whose turn it is to learn, and the loss of that turn. Also what several methods share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..data import Batch
from ..denoiser import Denoiser, Sampling

Nets = dict[str, nn.Module]


class Progress(NamedTuple):
    """Where a training is: steps done, steps in all, images seen."""

    step: int
    steps: int
    images: int

    @property
    def fraction(self) -> float:
        return self.step / self.steps


@dataclass
class Method:
    """Fields are hyperparameters: they are the recipe's schema and defaults."""

    training: ClassVar[dict[str, Any]] = {}       # the method's own defaults of the training settings
    teaches: ClassVar[bool] = False               # a teacher is needed

    def extras(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        """Networks kept and saved besides the student, by role; those that appear in a turn are trained."""
        return {}

    def frozen(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        """Networks consulted and never trained."""
        return {}

    def averages(self) -> dict[str, Callable[[Progress], float]]:
        """Running averages of the student that serve as targets: role -> decay. (Not the exported EMA.)"""
        return {}

    def turns(self, progress: Progress) -> tuple[tuple[str, ...], ...]:
        """The roles that learn from one loss, turn after turn, at this step."""
        return (("student",),)

    def loss(self, turn: tuple[str, ...], nets: Nets, batch: Batch, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar, and what to log."""
        raise NotImplementedError

    def teacher_nfe(self) -> int:
        """Teacher evaluations a training example costs."""
        return 0

    def sampling(self) -> Sampling:
        """How a student of this method is to be sampled; stored with it."""
        raise NotImplementedError


def bare(net: nn.Module) -> nn.Module:
    """The network inside a data-parallel wrapper."""
    return getattr(net, "module", net) if not isinstance(net, Denoiser) else net


def per_sample(error: Tensor) -> Tensor:
    """Mean over all but the first axis, in float32 at least: (B, ...) -> (B,)."""
    return (error if error.dtype == torch.float64 else error.float()).flatten(1).mean(1)


def pseudo_huber(error: Tensor, c: float) -> Tensor:
    """sqrt(|e|^2 + c^2) - c over the whole vector of each sample (Song & Dhariwal 2023, iCT, equation 8)."""
    square = (error if error.dtype == torch.float64 else error.float()).flatten(1).square().sum(1)
    return (square + c**2).sqrt() - c


TIME_LAWS: dict[str, type] = {}


@dataclass(frozen=True)
class Law:
    """A law without a memory, of times between t_min and 1 (in units of t_max)."""

    registry: ClassVar[dict[str, type]] = TIME_LAWS

    def memory(self) -> nn.Module | None:
        return None


@dataclass(frozen=True)
class Uniform(Law):
    """t uniform; t_min as a share of t_max."""

    t_min: float = 1e-3

    def draw(self, rng, schedule, memory=None):
        return schedule.t_max * (self.t_min + (1 - self.t_min) * rng.uniform()), None


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
    """logit(t / t_max) ~ N(mean, std^2) (Esser et al. 2024)."""

    mean: float = 0.0
    std: float = 1.0

    def draw(self, rng, schedule, memory=None):
        return schedule.t_max * (self.mean + self.std * rng.normal().double()).sigmoid(), None


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

    def __init__(self, bins: int, decay: float):
        super().__init__()
        self.decay = decay
        self.register_buffer("moment", torch.zeros(bins, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(bins, dtype=torch.int64))

    def shares(self, uniform_share: float) -> Tensor:
        if self.count.min() < 10:                                # until every bin is known
            return torch.full_like(self.moment, 1 / len(self.moment))
        root = self.moment.sqrt()
        return (1 - uniform_share) * root / root.sum() + uniform_share / len(root)

    @torch.no_grad()
    def record(self, loss: Tensor, fraction: Tensor) -> None:
        """loss (B,) at times fraction (B,) of t_max."""
        bin_of = (fraction * len(self.moment)).long().clamp(0, len(self.moment) - 1)
        sums = torch.stack([torch.zeros_like(self.moment).index_add_(0, bin_of, v) for v in
                            (loss.double().square(), torch.ones_like(loss, dtype=torch.float64))])
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        total, seen = sums
        fresh = total / seen.clamp(min=1)
        blend = self.decay * (self.count > 0).to(self.moment)
        self.moment.copy_(torch.where(seen > 0, blend * self.moment + (1 - blend) * fresh, self.moment))
        self.count.add_(seen.long())


TIME_LAWS |= {"uniform": Uniform, "lognormal": LogNormal, "logit_normal": LogitNormal, "importance": Importance}
