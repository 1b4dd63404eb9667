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
from ..core.schedule import Schedule
from ..core.validation import check, named, spelled

# A name, a name with options as text or mapping, or the times themselves.
Spacing = str | Mapping[str, Any] | Sequence[float] | Tensor

MAX_STEPS = 10**6  # a grid is kept in memory


def falling(steps: int) -> Tensor:
    """Return steps + 1 numbers from 1 down to 0 in equal strides."""
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def uniform(schedule: Schedule, steps: int, start: float = 1.0, stop: float = 0.0) -> Tensor:
    """Equal strides from t_max to 0, as in progressive distillation (Salimans & Ho 2022)."""
    return (stop + (start - stop) * falling(steps)) * schedule.t_max


def trailing(schedule: Schedule, steps: int, start: float = 1.0, stop: float = 0.0) -> Tensor:
    """Training timesteps counted down from the last one in equal strides, rounded (Lin et al. 2023)."""
    count = schedule.timesteps
    back = torch.arange(steps, -1, -1, dtype=torch.float64)
    return (back * ((start - stop) * count / steps) + stop * count).round() * schedule.t_max / count


def leading(schedule: Schedule, steps: int, start: float = 1.0, stop: float = 0.0, offset: int = 0) -> Tensor:
    """Training timesteps 0, k, 2k, ... with k = count // steps, as in DDIM's code; it starts below t_max.

    Args:
        schedule: noise schedule of the times.
        steps: number of steps.
        start: fraction of t_max of the first time.
        stop: fraction of t_max of the last time.
        offset: number of timesteps added to each, at most up to the last timestep; 1 in Stable Diffusion.
    """
    count = schedule.timesteps
    first, last = round(stop * count), round(start * count)
    entries = torch.arange(steps - 1, -1, -1, dtype=torch.float64) * ((last - first) // steps) + 1
    entries = (entries + offset).clamp(min=1, max=last - first)
    return torch.cat([entries + first, torch.tensor([first])]) * schedule.t_max / count


def quadratic(schedule: Schedule, steps: int, start: float = 1.0, stop: float = 0.0) -> Tensor:
    """Quadratic, dense near the data: t = t_max (i / steps)^2 (Song et al. 2021, DDIM, appendix D)."""
    return (stop + (start - stop) * falling(steps) ** 2) * schedule.t_max


def cosine(schedule: Schedule, steps: int, start: float = 1.0, stop: float = 0.0) -> Tensor:
    """Chebyshev points, dense at both ends: t = t_max sin^2(pi i / 2 steps) (Trefethen 2013, chapter 2)."""
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


def karras(
    schedule: Schedule,
    steps: int,
    start: float = 1.0,
    stop: float = 0.0,
    rho: float = 7.0,
    ratio_min: float = 0.002,
    ratio_max: float = 80.0,
) -> Tensor:
    """Power-law ramp of sigma / alpha, then 0 (Karras et al. 2022, equation 5).

    Args:
        schedule: noise schedule of the times.
        steps: number of steps.
        start: fraction of t_max of the first time.
        stop: fraction of t_max of the last time.
        rho: exponent, above 0; larger values are denser near the data.
        ratio_min: sigma / alpha at the last time before 0.
        ratio_max: sigma / alpha at the first time, or less if the schedule ends at less.
    """
    if not 0 < rho < math.inf:
        raise FastdiffError(f"spacing karras: rho = {rho}: expected above 0")
    return by_ratio(
        schedule, steps, start, stop, ratio_min, ratio_max, lambda r: r ** (1 / rho), lambda r: r**rho
    )


def few_steps(
    schedule: Schedule, steps: int, start: float = 1.0, stop: float = 0.0, ratio_min: float = 0.8
) -> Tensor:
    """Karras' ramp for a few steps, which ends the nearer to the data the more steps there are, then 0.

    The second of two steps of iCT and sCM starts near sigma / alpha = 0.8; eight that end there too would all
    be spent on high noise.

    Args:
        schedule: noise schedule of the times.
        steps: number of steps.
        start: fraction of t_max of the first time.
        stop: fraction of t_max of the last time.
        ratio_min: sigma / alpha at the last time before 0 of one or two steps; for more steps it is divided
            by half their number.
    """
    return karras(schedule, steps, start, stop, ratio_min=ratio_min / max(1, steps / 2))


def logsnr(
    schedule: Schedule,
    steps: int,
    start: float = 1.0,
    stop: float = 0.0,
    ratio_min: float = 0.002,
    ratio_max: float = 80.0,
) -> Tensor:
    """Equal strides in log(sigma / alpha), then 0 (Lu et al. 2022a, DPM-Solver, section 4.1).

    Args:
        schedule: noise schedule of the times.
        steps: number of steps.
        start: fraction of t_max of the first time.
        stop: fraction of t_max of the last time.
        ratio_min: sigma / alpha at the last time before 0.
        ratio_max: sigma / alpha at the first time, or less if the schedule ends at less.
    """
    return by_ratio(schedule, steps, start, stop, ratio_min, ratio_max, torch.log, torch.exp)


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


def by_ratio(
    schedule: Schedule,
    steps: int,
    start: float,
    stop: float,
    ratio_min: float,
    ratio_max: float,
    bend: Callable[[Tensor], Tensor],
    unbend: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return a grid with equal strides in bend(sigma / alpha).

    It goes from ratio_max to ratio_min in `steps` times, then to 0; or to `stop` if that is above 0.

    Args:
        schedule: noise schedule of the times.
        steps: number of steps.
        start: fraction of t_max of the first time, which is earlier where its ratio is above ratio_max.
        stop: fraction of t_max of the last time.
        ratio_min: sigma / alpha at the last time before 0.
        ratio_max: bound of sigma / alpha at the first time.
        bend: increasing function.
        unbend: inverse of bend.

    Raises:
        FastdiffError: for ratios that do not decrease from the first time to the last.
    """
    ends = torch.tensor([start, stop], dtype=torch.float64) * schedule.t_max
    alpha, sigma = schedule.alpha_sigma(ends)
    first, last = (sigma / alpha).tolist()
    high, low = min(ratio_max, first), last or ratio_min
    if not 0 < low < high < math.inf:
        raise FastdiffError(
            f"a spacing in sigma / alpha from {high:g} down to {low:g}: expected ratio_min above 0, "
            "below a finite ratio_max and below sigma / alpha at its start"
        )
    top, bottom = bend(torch.tensor([high, low], dtype=torch.float64)).tolist()
    ramp = torch.linspace(top, bottom, steps + (stop > 0), dtype=torch.float64)
    times = schedule.time_of(unbend(ramp)).clamp(max=float(ends[0]))
    return torch.cat([times[:steps], ends[1:]])


SPACINGS: dict[str, Callable[..., Tensor]] = {
    f.__name__: f
    for f in (uniform, trailing, leading, quadratic, cosine, shifted, karras, few_steps, logsnr, lcm)
}


def time_grid(schedule: Schedule, steps: int, spacing: Spacing = "uniform", **options: float) -> Tensor:
    """Return the times at which a sampler evaluates the model.

        times = fastdiff.time_grid(model.schedule, 18, "karras", rho=5)
        times = fastdiff.time_grid(model.schedule, 2, [0.9, 0.5])

    Args:
        schedule: noise schedule of the times.
        steps: number of steps, 1 to 1,000,000.
        spacing: a key of SPACINGS, with options as "karras[rho=5]" or {"name": "karras", "rho": 5}; or the
            times, as [0.9, 0.5] or "0.9,0.5", one per step, in the unit of the schedule; the last 0 may be
            left out.
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
    if name not in SPACINGS:
        raise FastdiffError(
            f"spacing {name!r} is unknown, choose from {', '.join(SPACINGS)}, or list the times"
        )
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
