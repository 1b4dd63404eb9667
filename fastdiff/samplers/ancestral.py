"""DDPM and DDIM: one family, from fully stochastic to deterministic."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import sqrt
from typing import Literal

import torch
from torch import Tensor

from ..errors import FastdiffError
from ..guidance import Guided
from ..schedule import blend
from .state import State, traits

Randn = Callable[[Tensor], Tensor]


@traits(order="1", noise="every step")
def ddpm(denoise: Guided, x: Tensor, times: Tensor, *, variance: Literal["small", "large"] = "small",
         randn: Randn = torch.randn_like) -> Iterator[State]:
    """Ancestral sampling on any grid (Ho et al. 2020, algorithm 2); variance beta-tilde (small) or beta (large)."""
    if variance not in ("small", "large"):
        raise FastdiffError(f"sampler ddpm: variance = {variance!r}, expected small or large")
    levels = denoise.schedule.levels(times)
    for (t, s), ((alpha_t, sigma_t), (alpha_s, sigma_s)) in zip(pairwise(times), pairwise(levels), strict=True):
        p = denoise(x, t, s)
        keep = alpha_t / alpha_s                                   # x_t = keep x_s + noise of variance beta
        beta = sigma_t**2 - (keep * sigma_s) ** 2
        x = blend(keep * sigma_s**2 / sigma_t**2, p.x, alpha_s * beta / sigma_t**2, p.x0)
        if sigma_s > 0:
            spread = beta if variance == "large" else beta * sigma_s**2 / sigma_t**2
            x = x.add_(randn(x), alpha=sqrt(spread))
        yield State(s, x, p.x0)


@traits(order="1", noise="where eta > 0")
def ddim(denoise: Guided, x: Tensor, times: Tensor, *, eta: float = 0.0, randn: Randn = torch.randn_like) -> Iterator[State]:
    """DDIM (Song et al. 2021, equation 12); eta 0 is deterministic, eta 1 is ddpm with small variance.

    A student that predicts jumps (progressive, flow maps) sampled by ddim at eta 0 is its own sampler.
    """
    levels = denoise.schedule.levels(times)
    for (t, s), ((alpha_t, sigma_t), (alpha_s, sigma_s)) in zip(pairwise(times), pairwise(levels), strict=True):
        p = denoise(x, t, s)
        variance = eta**2 * (sigma_s / sigma_t) ** 2 * max(0.0, sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2)
        # alpha_s x0 + (what is left of sigma_s) eps, with eps = (x - alpha_t x0) / sigma_t.
        turn = sqrt(max(0.0, sigma_s**2 - variance)) / sigma_t
        x = blend(turn, p.x, alpha_s - turn * alpha_t, p.x0) if sigma_s > 0 else p.x0
        if variance > 0:
            x = x.add_(randn(x), alpha=sqrt(variance))
        yield State(s, x, p.x0)
