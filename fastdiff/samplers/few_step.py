"""Samplers of students that jump far: straight to the data, or to a given time."""

from collections.abc import Iterator
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor

from ..core.errors import FastdiffError
from ..core.guidance import Guided
from ..core.prediction import ratio_of
from ..core.schedule import Schedule
from .ancestral import Randn
from .state import State, traits


@traits(order="1", noise="every step", jumps=True)
def consistency(
    denoise: Guided, x: Tensor, times: Tensor, *, randn: Randn = torch.randn_like
) -> Iterator[State]:
    """Jump to the data, add fresh noise, repeat (Song et al. 2023, algorithm 1)."""
    levels = denoise.schedule.levels(times)
    for (t, s), (alpha_s, sigma_s) in zip(pairwise(times), levels[1:], strict=True):
        p = denoise(x, t, torch.zeros_like(s))
        x = p.combine(x0=alpha_s, eps=0.0).add_(randn(x), alpha=sigma_s) if sigma_s > 0 else p.x0
        yield State(s, x, p)


@traits(order="1", noise_option="gamma", jumps=True)
def gamma(
    denoise: Guided, x: Tensor, times: Tensor, *, gamma: float = 0.0, randn: Randn = torch.randn_like
) -> Iterator[State]:
    """Jump below the next level and add noise up to it (Kim et al. 2024, CTM, algorithm 3).

    gamma: 0 is ddim, 1 consistency. The network jumps to the time u where sigma / alpha is sqrt(1 - gamma^2)
    of the next level's. TCD's rule (Zheng et al. 2024) is the same jump with u = (1 - its gamma) s, which
    makes this gamma sqrt(1 - (ratio_u / ratio_s)^2).
    """
    if not 0 <= gamma <= 1:
        raise FastdiffError(f"sampler gamma: gamma = {gamma}, expected 0 (deterministic) to 1 (consistency)")
    targets = below(denoise.schedule, times[1:], gamma)
    shares = [sqrt(1 - gamma**2)] * len(targets)
    yield from jumps(denoise, x, times, targets, shares, randn)


def below(schedule: Schedule, times: Tensor, gamma: float) -> Tensor:
    """Return the times whose sigma / alpha is sqrt(1 - gamma^2) of that at the given ones."""
    return schedule.time_of(sqrt(1 - gamma**2) * ratio_of(schedule, times)).clamp(min=0) if gamma else times


@traits(order="1", noise="every step", jumps=True)
def overshoot(
    denoise: Guided, x: Tensor, times: Tensor, *, randn: Randn = torch.randn_like
) -> Iterator[State]:
    """Jump to the time after the next and add noise up to the next (Meng et al. 2023, section 3.3).

    One evaluation a step, each a jump over two steps but for the last; the noise added on the way corrects
    errors of earlier jumps.
    """
    targets = torch.cat([times[2:], times[-1:]])
    share = (ratio_of(denoise.schedule, targets[:-1]) / ratio_of(denoise.schedule, times[1:-1])).tolist()
    yield from jumps(denoise, x, times, targets, [*share, 1.0], randn)


def jumps(
    denoise: Guided, x: Tensor, times: Tensor, targets: Tensor, shares: list[float], randn: Randn
) -> Iterator[State]:
    """Jump to the targets, each time with fresh noise up to the next time of the grid.

    x_s = alpha_s x0 + share sigma_s eps + sqrt(1 - share^2) sigma_s z, where `share` is sigma / alpha at the
    target by that at the next time.
    """
    levels = denoise.schedule.levels(times)[1:]
    for (t, s), u, share, (alpha_s, sigma_s) in zip(pairwise(times), targets, shares, levels, strict=True):
        p = denoise(x, t, u)
        x = p.combine(x0=alpha_s, eps=share * sigma_s)
        if share < 1 and sigma_s > 0:
            x = x.add_(randn(x), alpha=sqrt(1 - share**2) * sigma_s)
        yield State(s, x, p)
