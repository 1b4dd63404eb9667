"""Time grids: steps + 1 decreasing times, from the first evaluation down to 0.

A spacing is a function (schedule, steps, start=1, stop=0, **options) -> times (steps + 1,), where start and
stop are the fractions of t_max of the first and the last time.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.errors import FastdiffError, checked_integer
from ..core.registry import Registry, known_name
from ..core.schedule import Schedule
from ..core.validation import check, named, spelled
from ..core.wording import unregistered
from .ratio_grids import beta, few_steps, karras, logsnr

# A name, a name with options as text or mapping, or the times themselves.
Spacing = str | Mapping[str, Any] | Sequence[float] | Tensor

MAX_STEPS = 10**6  # a grid is kept in memory


def falling(steps: int) -> Tensor:
    """Return steps + 1 numbers from 1 down to 0 in equal strides."""
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def uniform(schedule: Schedule, steps: int, start: float = 1.0, stop: float = 0.0) -> Tensor:
    """Equal strides from t_max to 0, as in progressive distillation (Salimans & Ho 2022).

    Args:
        schedule: noise schedule of the times.
        steps: number of steps.
        start: fraction of t_max of the first time.
        stop: fraction of t_max of the last time.
    """
    return (stop + (start - stop) * falling(steps)) * schedule.t_max


def trailing(schedule: Schedule, steps: int, start: float = 1.0, stop: float = 0.0) -> Tensor:
    """Training timesteps counted down from the last one in equal strides, rounded (Lin et al. 2023).

    Args:
        schedule: noise schedule of the times.
        steps: number of steps.
        start: fraction of t_max of the first time.
        stop: fraction of t_max of the last time.
    """
    count = schedule.timesteps
    back = torch.arange(steps, -1, -1, dtype=torch.float64)
    return (back * ((start - stop) * count / steps) + stop * count).round() * schedule.t_max / count


def leading(
    schedule: Schedule,
    steps: int,
    start: float = 1.0,
    stop: float = 0.0,
    offset: int = 0,
    inner: bool = False,
) -> Tensor:
    """Training timesteps 0, k, 2k, ... with k = count // steps, as in DDIM's code; it starts below t_max.

    Args:
        schedule: noise schedule of the times.
        steps: number of steps.
        start: fraction of t_max of the first time.
        stop: fraction of t_max of the last time.
        offset: number of timesteps added to each, at most up to the last timestep; 1 in Stable Diffusion.
        inner: take the grid of one step more without its last time before the end, as diffusers'
            DPM-Solver++ and UniPC do.
    """
    count = schedule.timesteps
    first, last = round(stop * count), round(start * count)
    numbers = torch.arange(steps - 1 + inner, -1 + inner, -1, dtype=torch.float64)
    entries = numbers * ((last - first) // (steps + inner)) + 1
    entries = (entries + offset).clamp(min=1, max=last - first)
    return torch.cat([entries + first, torch.tensor([first])]) * schedule.t_max / count


def linspace(
    schedule: Schedule,
    steps: int,
    start: float = 1.0,
    stop: float = 0.0,
    rounded: bool = True,
    inner: bool = False,
) -> Tensor:
    """Training timesteps in equal strides from the last to the first, then the end, as in diffusers.

    Args:
        schedule: noise schedule of the times.
        steps: number of steps.
        start: fraction of t_max of the first time.
        stop: fraction of t_max of the last time.
        rounded: whether the timesteps are rounded; those of diffusers' Euler schedulers are not.
        inner: take the grid of one step more without its last time before the end, as diffusers'
            DPM-Solver++ and UniPC do.
    """
    count = schedule.timesteps
    first, last = round(stop * count), round(start * count)
    entries = torch.linspace(last - 1, first, steps + inner, dtype=torch.float64)[:steps]
    entries = entries.round() if rounded else entries
    return torch.cat([entries + 1, torch.tensor([first])]) * schedule.t_max / count


def quadratic(schedule: Schedule, steps: int, start: float = 1.0, stop: float = 0.0) -> Tensor:
    """Quadratic, dense near the data: t = t_max (i / steps)^2 (Song et al. 2021, DDIM, appendix D).

    Args:
        schedule: noise schedule of the times.
        steps: number of steps.
        start: fraction of t_max of the first time.
        stop: fraction of t_max of the last time.
    """
    return (stop + (start - stop) * falling(steps) ** 2) * schedule.t_max


def cosine(schedule: Schedule, steps: int, start: float = 1.0, stop: float = 0.0) -> Tensor:
    """Chebyshev points, dense at both ends: t = t_max sin^2(pi i / 2 steps) (Trefethen 2013, chapter 2).

    Args:
        schedule: noise schedule of the times.
        steps: number of steps.
        start: fraction of t_max of the first time.
        stop: fraction of t_max of the last time.
    """
    return (stop + (start - stop) * (math.pi / 2 * falling(steps)).sin() ** 2) * schedule.t_max


def shifted(
    schedule: Schedule, steps: int, start: float = 1.0, stop: float = 0.0, shift: float = 3.0
) -> Tensor:
    """Shifted, dense near noise: t = t_max shift u / (1 + (shift - 1) u) (Esser et al. 2024, equation 23).

    Args:
        schedule: noise schedule of the times.
        steps: number of steps.
        start: fraction of t_max of the first time.
        stop: fraction of t_max of the last time.
        shift: above 0; 1 is uniform, and larger values move the times towards the noise.
    """
    if not 0 < shift < math.inf:
        raise FastdiffError(f"spacing shifted: shift = {shift}: expected above 0; 1 is uniform")
    fraction = shift * falling(steps) / (1 + (shift - 1) * falling(steps))
    return (stop + (start - stop) * fraction) * schedule.t_max


def lcm(schedule: Schedule, steps: int, start: float = 1.0, stop: float = 0.0, points: int = 50) -> Tensor:
    """The grid of LCM and TCD: a subset of `points` uniform times, at equal strides of their indices.

    Args:
        schedule: noise schedule of the times.
        steps: number of steps.
        start: fraction of t_max of the first time.
        stop: fraction of t_max of the last time.
        points: number of uniform times to choose from, at least 1; indices are rounded up.
    """
    if points < 1:
        raise FastdiffError(f"spacing lcm: points = {points}: expected at least 1")
    numbers = torch.cat(
        [points - (torch.arange(steps, dtype=torch.float64) * (points / steps)).floor(), torch.zeros(1)]
    )
    return (stop + (start - stop) * numbers / points) * schedule.t_max


SPACINGS: Registry[Callable[..., Tensor]] = Registry(
    {
        f.__name__: f
        for f in (
            uniform,
            trailing,
            leading,
            quadratic,
            cosine,
            shifted,
            karras,
            few_steps,
            logsnr,
            lcm,
            linspace,
            beta,
        )
    }
)


def time_grid(schedule: Schedule, steps: int, spacing: Spacing = "uniform", **options: float) -> Tensor:
    """Return the times at which a sampler evaluates the model.

        times = fastdiff.time_grid(model.schedule, 18, "karras", rho=5)
        times = fastdiff.time_grid(model.schedule, 2, [0.9, 0.5])

    Args:
        schedule: noise schedule of the times.
        steps: number of steps, 1 to 1,000,000.
        spacing: a key of SPACINGS, in any case, with options as "karras[rho=5]" or {"name": "karras",
            "rho": 5}; or the times, as [0.9, 0.5] or "0.9,0.5", one per step, in the unit of the schedule;
            the last 0 may be left out.
        options: options of the spacing. Every spacing has start and stop, the fractions of t_max at which the
            grid begins (default 1) and ends (default 0).

    Returns:
        Decreasing times (steps + 1,), float64 on the CPU, from at most t_max down to 0, or to stop t_max.

    Raises:
        FastdiffError: for an unknown spacing or option, and for times that do not decrease or are not above 0
            and at most t_max.
    """
    steps = checked_integer("steps", steps, 1, MAX_STEPS)
    times = listed(spacing)
    if times is not None:
        if options:
            raise FastdiffError(f"spacing {spacing!r} is a list of times: it has no option {min(options)}")
        return written(schedule, steps, times)
    name, own = spelled(spacing, "spacing") if isinstance(spacing, str) else named(spacing, "spacing")
    name = known_name(name, SPACINGS)
    if name not in SPACINGS:
        raise FastdiffError(f"{unregistered(f'spacing {name!r}', name, SPACINGS)}, or list the times")
    options = check(SPACINGS, name, own | options, f"spacing {name}", skip=("schedule", "steps"))
    if not 0 <= options["stop"] < options["start"] <= 1:
        raise FastdiffError(
            f"spacing {name}: start = {options['start']:g} and stop = {options['stop']:g}: "
            "expected 1 >= start > stop >= 0, as fractions of t_max"
        )
    grid = SPACINGS[name](schedule, steps, **options)
    if not (grid.diff() < 0).all():
        raise FastdiffError(f"{steps} steps are too many for spacing {name!r}: neighbouring times coincide")
    return grid


def listed(spacing: Spacing) -> list[float] | None:
    """Return the times of a spacing that is a list of times; None if it is a name."""
    if isinstance(spacing, Mapping):
        return None
    times = spacing.split(",") if isinstance(spacing, str) else spacing
    try:
        return [float(time) for time in times]
    except (TypeError, ValueError):
        return None


def written(schedule: Schedule, steps: int, times: list[float]) -> Tensor:
    """Return a list of times as a grid, with the last 0 added if it was left out."""
    times = times[:-1] if times and times[-1] == 0 else times
    if len(times) != steps:
        raise FastdiffError(
            f"spacing: {len(times)} times for {steps} steps: expected one per step; "
            "the last 0 may be left out",
            key="spacing",
        )
    grid = torch.tensor([*times, 0.0], dtype=torch.float64)
    if not (grid.diff() < 0).all() or times[0] > schedule.t_max:
        raise FastdiffError(
            f"spacing {', '.join(f'{t:g}' for t in times)}: expected decreasing times, at most "
            f"t_max = {schedule.t_max:g} and above 0"
        )
    return grid
