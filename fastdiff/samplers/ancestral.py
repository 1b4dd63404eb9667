"""DDPM and DDIM: one family, from fully stochastic to deterministic."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from ..errors import FastdiffError
from ..guidance import Guided
from .state import State


def ddpm(denoise: Guided, x: Tensor, times: Tensor, *, variance: Literal["small", "large"] = "small",
         randn: Callable[[Tensor], Tensor] = torch.randn_like) -> Iterator[State]:
    """Ancestral sampling on any grid (Ho et al. 2020, algorithm 2); variance beta-tilde (small) or beta (large)."""
    if variance not in ("small", "large"):
        raise FastdiffError(f"sampler ddpm: variance = {variance!r}, expected small or large")
    schedule = denoise.schedule
    for t, s in pairwise(times):
        p = denoise(x, t, s)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
        keep = alpha_t / alpha_s                                   # x_t = keep x_s + noise of variance beta
        beta = sigma_t**2 - (keep * sigma_s) ** 2
        x = (keep * sigma_s**2 / sigma_t**2) * x + (alpha_s * beta / sigma_t**2) * p.x0
        if s > 0:
            spread = beta if variance == "large" else beta * sigma_s**2 / sigma_t**2
            x = x + spread.sqrt() * randn(x)
        yield State(s, x, p.x0)


def ddim(denoise: Guided, x: Tensor, times: Tensor, *, eta: float = 0.0,
         randn: Callable[[Tensor], Tensor] = torch.randn_like) -> Iterator[State]:
    """DDIM (Song et al. 2021, equation 12); eta 0 is deterministic, eta 1 is ddpm with small variance.

    A student that predicts jumps (progressive, flow maps) sampled by ddim at eta 0 is its own sampler.
    """
    schedule = denoise.schedule
    for t, s in pairwise(times):
        p = denoise(x, t, s)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
        noise = eta * sigma_s / sigma_t * (sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2).clamp(min=0).sqrt()
        x = alpha_s * p.x0 + (sigma_s**2 - noise**2).clamp(min=0).sqrt() * p.eps if s > 0 else p.x0
        if noise > 0:
            x = x + noise * randn(x)
        yield State(s, x, p.x0)
