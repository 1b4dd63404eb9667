"""Samplers of students that jump far: straight to the data, or to a time they are told."""

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
    for (t, s), (alpha_s, sigma_s) in zip(pairwise(times), denoise.schedule.levels(times)[1:], strict=True):
        p = denoise(x, t, torch.zeros_like(s))
        x = p.blend(0.0, alpha_s).add_(randn(x), alpha=sigma_s) if sigma_s > 0 else p.x0
        yield State(s, x, p)


@traits(order="1", noise_option="gamma", jumps=True)
def gamma(
    denoise: Guided, x: Tensor, times: Tensor, *, gamma: float = 0.0, randn: Randn = torch.randn_like
) -> Iterator[State]:
    """Jump below the next level and add noise up to it (Kim et al. 2024, CTM, algorithm 3); gamma 0 is ddim, 1 consistency.

    The network is told the time u it jumps to, where sigma / alpha is sqrt(1 - gamma^2) of the next level's.
    TCD's rule (Zheng et al. 2024) is the same jump with u = (1 - its gamma) s, which makes this gamma sqrt(1
    - (ratio_u / ratio_s)^2).
    """
    if not 0 <= gamma <= 1:
        raise FastdiffError(f"sampler gamma: gamma = {gamma}, expected 0 (deterministic) to 1 (consistency)")
    schedule, jump = denoise.schedule, sqrt(1 - gamma**2)
    targets = below(schedule, times[1:], gamma)
    yield from jumps(denoise, x, times, targets, [jump] * len(targets), randn)


def below(schedule: Schedule, times: Tensor, gamma: float) -> Tensor:
    """The times whose sigma / alpha is sqrt(1 - gamma^2) of that at the given ones."""
    return schedule.time_of(sqrt(1 - gamma**2) * ratio_of(schedule, times)).clamp(min=0) if gamma else times


@traits(order="1", noise="every step", jumps=True)
def overshoot(
    denoise: Guided, x: Tensor, times: Tensor, *, randn: Randn = torch.randn_like
) -> Iterator[State]:
    """Jump to the time after the next and add noise up to the next (Meng et al. 2023, section 3.3).

    As many evaluations as steps, each jump two long but the last; what is drawn on the way mends errors of
    the way.
    """
    targets = torch.cat([times[2:], times[-1:]])
    share = (ratio_of(denoise.schedule, targets[:-1]) / ratio_of(denoise.schedule, times[1:-1])).tolist()
    yield from jumps(denoise, x, times, targets, [*share, 1.0], randn)


def jumps(
    denoise: Guided, x: Tensor, times: Tensor, targets: Tensor, shares: list[float], randn: Randn
) -> Iterator[State]:
    """Jumps to the targets, each with noise up to the next time; shares: sigma / alpha at the target by that at the time."""
    for (t, s), u, share, ((alpha_t, sigma_t), (alpha_s, sigma_s)) in zip(
        pairwise(times), targets, shares, pairwise(denoise.schedule.levels(times)), strict=True
    ):
        p = denoise(x, t, u)
        turn = share * sigma_s / sigma_t
        x = p.blend(turn, alpha_s - turn * alpha_t)
        if share < 1 and sigma_s > 0:
            x = x.add_(randn(x), alpha=sqrt(1 - share**2) * sigma_s)
        yield State(s, x, p)
