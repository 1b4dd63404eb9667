"""Spacings in sigma / alpha, see `time_grids`: from ratio_max to ratio_min, then 0."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..core.errors import FastdiffError
from ..core.schedule import Schedule

BETA_SHAPE = 0.6  # both parameters of the beta distribution (Lee et al. 2024, Beta Sampling is All You Need)


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
    ramp = even(lambda r: r ** (1 / rho), lambda r: r**rho)
    return by_ratio(schedule, steps, start, stop, ratio_min, ratio_max, ramp)


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
    return by_ratio(schedule, steps, start, stop, ratio_min, ratio_max, even(torch.log, torch.exp))


def beta(
    schedule: Schedule,
    steps: int,
    start: float = 1.0,
    stop: float = 0.0,
    ratio_min: float = 0.002,
    ratio_max: float = 80.0,
) -> Tensor:
    """Quantiles of a beta distribution in sigma / alpha, dense at both ends, then 0 (Lee et al. 2024).

    Args:
        schedule: noise schedule of the times.
        steps: number of steps.
        start: fraction of t_max of the first time.
        stop: fraction of t_max of the last time.
        ratio_min: sigma / alpha at the last time before 0.
        ratio_max: sigma / alpha at the first time, or less if the schedule ends at less.
    """
    return by_ratio(schedule, steps, start, stop, ratio_min, ratio_max, beta_ramp)


def by_ratio(
    schedule: Schedule,
    steps: int,
    start: float,
    stop: float,
    ratio_min: float,
    ratio_max: float,
    ramp: Callable[[float, float, int], Tensor],
) -> Tensor:
    """Return a grid of levels of sigma / alpha.

    It goes from ratio_max to ratio_min in `steps` times, then to 0; or to `stop` if that is above 0.

    Args:
        schedule: noise schedule of the times.
        steps: number of steps.
        start: fraction of t_max of the first time, which is earlier where its ratio is above ratio_max.
        stop: fraction of t_max of the last time.
        ratio_min: sigma / alpha at the last time before 0.
        ratio_max: bound of sigma / alpha at the first time.
        ramp: function (high, low, n) that returns the n levels, from high to low.

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
    times = schedule.time_of(ramp(high, low, steps + (stop > 0))).clamp(max=float(ends[0]))
    return torch.cat([times[:steps], ends[1:]])


def even(
    bend: Callable[[Tensor], Tensor], unbend: Callable[[Tensor], Tensor]
) -> Callable[[float, float, int], Tensor]:
    """Return a ramp with equal strides in bend(sigma / alpha), for an increasing function and its inverse."""

    def ramp(high: float, low: float, n: int) -> Tensor:
        top, bottom = bend(torch.tensor([high, low], dtype=torch.float64)).tolist()
        return unbend(torch.linspace(top, bottom, n, dtype=torch.float64))

    return ramp


def beta_ramp(high: float, low: float, n: int) -> Tensor:
    """Return the quantiles of a beta distribution between low and high, from high to low."""
    from scipy.special import betaincinv  # slow to import

    quantiles = betaincinv(BETA_SHAPE, BETA_SHAPE, torch.linspace(1, 0, n, dtype=torch.float64).numpy())
    return low + (high - low) * torch.as_tensor(quantiles, dtype=torch.float64)
