"""Schedules that end above the data: their time 0 has a level with noise."""

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from .sampling import DATA
from .schedule_base import Schedule


@dataclass(frozen=True)
class NoisyEnd(Schedule):
    """A schedule on which samplers end at a level with noise, as some pipelines of diffusers do.

    Args:
        t_max: time of the most noise.
        inner: the schedule at all times above 0.
        end: (alpha, sigma) at time 0.
    """

    t_max: float = 1.0
    inner: Schedule = Schedule()
    end: tuple[float, float] = DATA

    @property
    @override
    def timesteps(self) -> int:
        return self.inner.timesteps

    @override
    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self.inner.alpha_sigma(t)
        alpha_end, sigma_end = self.end
        return torch.where(t == 0, alpha_end, alpha), torch.where(t == 0, sigma_end, sigma)

    @override
    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner.rates(t)

    @override
    def time_of(self, ratio: Tensor) -> Tensor:
        return self.inner.time_of(ratio)


def with_end(schedule: Schedule, end: tuple[float, float]) -> Schedule:
    """Return a schedule with a level (alpha, sigma) at time 0; the schedule itself if that is data."""
    return schedule if tuple(end) == DATA else NoisyEnd(schedule.t_max, schedule, tuple(end))
