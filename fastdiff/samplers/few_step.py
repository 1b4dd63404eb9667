"""Samplers of few-step students, which jump to the data or to a given time."""

from collections.abc import Iterator
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor

from ..core.errors import FastdiffError
from ..core.guidance import Guided
from ..core.prediction import SIGMA_MIN, ratio_of
from ..core.schedule import Schedule
from .ancestral import Randn
from .state import State, traits


@traits(order="1", noise="every step", jumps=True)
def consistency(
    denoise: Guided, x: Tensor, times: Tensor, *, randn: Randn = torch.randn_like
) -> Iterator[State]:
    """Consistency sampling: jump to the data, add fresh noise, repeat (Song et al. 2023, algorithm 1).

    x_s = alpha_s x0 + sigma_s z. The x0 of a model that predicts `cm` is data at the ratio 0.002 of sigma /
    alpha, so that the noise is that much less: sqrt(sigma_s^2 - (0.002 alpha_s)^2).

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        randn: function from a tensor to standard normal noise of its shape.

    Yields:
        A State (t, x, x0) after each step.
    """
    levels = denoise.schedule.levels(times)
    remaining = SIGMA_MIN if denoise.model.predicts == "cm" else 0.0
    for (t, s), (alpha_s, sigma_s) in zip(pairwise(times), levels[1:], strict=True):
        p = denoise(x, t, torch.zeros_like(s))
        spread = sqrt(max(0.0, sigma_s**2 - (remaining * alpha_s) ** 2))
        x = p.combine(x0=alpha_s, eps=0.0).add_(randn(x), alpha=spread) if sigma_s > 0 else p.x0
        yield State(s, x, p)


@traits(order="1", noise_option="gamma", jumps=True)
def gamma(
    denoise: Guided, x: Tensor, times: Tensor, *, gamma: float = 0.0, randn: Randn = torch.randn_like
) -> Iterator[State]:
    """Gamma sampling: jump below the next noise level and add noise up to it (Kim et al. 2024, algorithm 3).

    The network jumps to the time u where sigma / alpha is sqrt(1 - gamma^2) times that at s. TCD (Zheng et
    al. 2024) jumps to u = (1 - its gamma) s, which is this gamma = sqrt(1 - (ratio_u / ratio_s)^2).

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        gamma: 0 is ddim, 1 is consistency.
        randn: function from a tensor to standard normal noise of its shape.

    Yields:
        A State (t, x, x0) after each step.

    Raises:
        FastdiffError: for a gamma that is not from 0 to 1.
    """
    if not 0 <= gamma <= 1:
        raise FastdiffError(f"sampler gamma: gamma = {gamma}: expected 0 (deterministic) to 1 (consistency)")
    targets = below(denoise.schedule, times[1:], gamma)
    fractions = [sqrt(1 - gamma**2)] * len(targets)
    yield from jumps(denoise, x, times, targets, fractions, randn)


def below(schedule: Schedule, times: Tensor, gamma: float) -> Tensor:
    """Return the times whose sigma / alpha is sqrt(1 - gamma^2) times that at the given times."""
    return schedule.time_of(sqrt(1 - gamma**2) * ratio_of(schedule, times)).clamp(min=0) if gamma else times


@traits(order="1", noise="every step", jumps=True)
def overshoot(
    denoise: Guided, x: Tensor, times: Tensor, *, randn: Randn = torch.randn_like
) -> Iterator[State]:
    """Overshooting: jump two steps ahead, then add noise up to one step (Meng et al. 2023, section 3.3).

    Each step takes one evaluation, a jump over two steps except for the last. The added noise corrects errors
    of earlier jumps.

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        randn: function from a tensor to standard normal noise of its shape.

    Yields:
        A State (t, x, x0) after each step.
    """
    targets = torch.cat([times[2:], times[-1:]])
    kept = (ratio_of(denoise.schedule, targets[:-1]) / ratio_of(denoise.schedule, times[1:-1])).tolist()
    yield from jumps(denoise, x, times, targets, [*kept, 1.0], randn)


def jumps(
    denoise: Guided, x: Tensor, times: Tensor, targets: Tensor, fractions: list[float], randn: Randn
) -> Iterator[State]:
    """Jump to the targets, each time with fresh noise up to the next time of the grid.

    x_s = alpha_s x0 + kept sigma_s eps + sqrt(1 - kept^2) sigma_s z, where `kept` is sigma / alpha at the
    target over that at s.

    Args:
        denoise: the model with its condition and guidance.
        x: start (B, ...).
        times: decreasing time grid (steps + 1,).
        targets: time to which the network jumps (steps,).
        fractions: `kept` of each step.
        randn: function from a tensor to standard normal noise of its shape.
    """
    levels = denoise.schedule.levels(times)[1:]
    for (t, s), u, kept, (alpha_s, sigma_s) in zip(pairwise(times), targets, fractions, levels, strict=True):
        p = denoise(x, t, u)
        x = p.combine(x0=alpha_s, eps=kept * sigma_s)
        if kept < 1 and sigma_s > 0:
            x = x.add_(randn(x), alpha=sqrt(1 - kept**2) * sigma_s)
        yield State(s, x, p)
