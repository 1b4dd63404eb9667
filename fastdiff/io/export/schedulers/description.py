"""A scheduler of diffusers as an export needs it: its class, its configuration, and the loop around it."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Grids = dict[int, Tensor]  # by the number of steps, the times of the grid, its last 0 included
Options = dict[str, str]  # of a sampler, as the command line writes them

NOISE_OPTIONS = ("generator=generator",)  # options of a step that draws noise


class NoMatchingSchedulerError(Exception):
    """The reason why no scheduler of diffusers takes the steps of a model's sampler."""


@dataclass(frozen=True)
class DiffusersScheduler:
    """A scheduler of diffusers, and the loop around it in Python's words.

    In the loop t is the scheduler's timestep and s the next one, `end` after the last.

    Args:
        class_name: its class in diffusers.
        config: arguments of its constructor.
        set_timesteps: arguments of its set_timesteps.
        noise_scale: standard deviation of the first x.
        clock: (a, b), the network's time being a t + b.
        end: the scheduler's time of clean data.
        times: the network's time at each timestep of the scheduler, in the place of `clock`, on a table made
            of the grid's own times.
        timesteps: what the loop runs over.
        landing: the time that a network of two times jumps to: `next`, `data`, or `eta`, TCD's fraction
            of the next.
        network_input: what goes into the network.
        output_factor: what its output is multiplied by.
        step_options: further arguments of step.
        grids: what `set_timesteps` looks up by the number of steps.
        etas: TCD's eta of each step, by the number of steps.
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
        """True if its steps draw noise."""
        return NOISE_OPTIONS[0] in self.step_options
