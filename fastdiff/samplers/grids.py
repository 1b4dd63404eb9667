"""Time grids: steps + 1 decreasing times from the first evaluation down to 0."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import FastdiffError
from ..schedule import Schedule


def uniform(schedule: Schedule, steps: int) -> Tensor:
    """Equal strides from t_max to 0: the grid of progressive distillation."""
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64) * schedule.t_max


def trailing(schedule: Schedule, steps: int) -> Tensor:
    """Training timesteps counted back from the last in equal strides, rounded to the table."""
    count = schedule.timesteps
    entries = (torch.arange(steps, 0, -1, dtype=torch.float64) * (count / steps)).round()
    return torch.cat([entries * schedule.t_max / count, torch.zeros(1)])


def leading(schedule: Schedule, steps: int) -> Tensor:
    """Training timesteps 0, k, 2k, ... with k = count // steps: never starts at t_max; kept for parity with DDIM's code."""
    count = schedule.timesteps
    entries = torch.arange(steps - 1, -1, -1, dtype=torch.float64) * (count // steps) + 1
    return torch.cat([entries * schedule.t_max / count, torch.zeros(1)])


def quadratic(schedule: Schedule, steps: int) -> Tensor:
    """Dense near the data: t = t_max (i / steps)^2 (Song et al. 2021, DDIM, appendix D)."""
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** 2 * schedule.t_max


def karras(schedule: Schedule, steps: int, rho: float = 7.0, ratio_min: float = 0.002, ratio_max: float = 80.0) -> Tensor:
    """sigma / alpha on a power-law ramp, then 0 (Karras et al. 2022, equation 5).

    The first point is the schedule's own t_max where that is nearer than ratio_max.
    """
    alpha, sigma = schedule.alpha_sigma(torch.tensor(schedule.t_max, dtype=torch.float64))
    ratio_max = min(ratio_max, float(sigma / alpha))
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    ratio = (ratio_max ** (1 / rho) + ramp * (ratio_min ** (1 / rho) - ratio_max ** (1 / rho))) ** rho
    return torch.cat([schedule.time_of(ratio).clamp(max=schedule.t_max), torch.zeros(1)])


SPACINGS: dict[str, Callable[..., Tensor]] = {f.__name__: f for f in (uniform, trailing, leading, quadratic, karras)}


def time_grid(schedule: Schedule, steps: int, spacing: str = "uniform", **options: float) -> Tensor:
    """steps + 1 decreasing times, float64 on the CPU; the last is 0."""
    if spacing not in SPACINGS:
        raise FastdiffError(f"spacing {spacing!r} is unknown, choose from {', '.join(SPACINGS)}")
    if steps < 1:
        raise FastdiffError(f"steps = {steps}: expected at least 1")
    grid = SPACINGS[spacing](schedule, steps, **options)
    if not (grid.diff() < 0).all():
        raise FastdiffError(f"{steps} steps are too many for spacing {spacing!r}: neighbouring times coincide")
    return grid
