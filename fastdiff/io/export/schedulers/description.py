"""The description of a diffusers scheduler for an export: its class, configuration, and sampling loop."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Grids = dict[int, Tensor]  # number of steps -> times of the grid, including the last 0
Options = dict[str, str]  # options of a sampler, as written on the command line

NOISE_OPTIONS = ("generator=generator",)  # arguments of a step that draws noise


class NoMatchingSchedulerError(Exception):
    """The error that no scheduler of diffusers takes the steps of a model's sampler, with the reason."""


@dataclass(frozen=True)
class DiffusersScheduler:
    """A scheduler of diffusers, and the sampling loop around it as Python source.

    In the loop t is the scheduler's timestep, and s the next timestep (`end` after the last one).

    Args:
        class_name: the scheduler's class in diffusers.
        config: arguments of its constructor.
        set_timesteps: arguments of the call of set_timesteps, as source.
        noise_scale: standard deviation of the first x, as source.
        clock: (a, b): the network's time is a t + b.
        end: the scheduler's time of clean data.
        times: the network's time at each timestep of the scheduler, in the place of `clock`, for a table that
            is built from the grid's times; [] otherwise.
        timesteps: the sequence that the loop runs over, as source.
        landing: the time that a network with two times jumps to: `next`, `data`, or `eta` (TCD's fraction of
            the next time).
        network_input: the input of the network, as source.
        output_factor: the factor that the network's output is multiplied by.
        step_options: further arguments of the call of step, as source.
        grids: number of steps -> the list that `set_timesteps` uses; {} if it needs none.
        etas: number of steps -> TCD's eta of each step.
    """

    class_name: str
    config: dict[str, Any]
    set_timesteps: str
    noise_scale: str
    clock: tuple[float, float] = (1.0, 0.0)
    end: float = 0.0
    times: list[float] = field(default_factory=list)
    timesteps: str = "scheduler.timesteps"
    landing: str = "next"
    network_input: str = "x"
    output_factor: float = 1.0
    step_options: tuple[str, ...] = ()
    grids: dict[int, list[float]] = field(default_factory=dict)
    etas: dict[int, list[float]] = field(default_factory=dict)

    @property
    def draws_noise(self) -> bool:
        """Whether the scheduler's steps draw noise."""
        return NOISE_OPTIONS[0] in self.step_options
