"""DDPM and DDIM: one family, from fully stochastic to deterministic."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import log, sqrt
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import FastdiffError
from ..core.guidance import Guided
from ..core.prediction import Prediction
from .state import State, traits

Randn = Callable[[Tensor], Tensor]


@traits(order="1", noise="every step")
def ddpm(
    denoise: Guided,
    x: Tensor,
    times: Tensor,
    *,
    variance: Literal["small", "large", "learned"] | None = None,
    randn: Randn = torch.randn_like,
) -> Iterator[State]:
    """DDPM, ancestral sampling on any grid (Ho et al. 2020, algorithm 2).

    x_s = keep sigma_s^2 / sigma_t^2 x_t + alpha_s beta / sigma_t^2 x0 + sqrt(variance) z (equation 7), where
    x_t = keep x_s + noise of variance beta.

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        variance: variance of the noise: small is beta-tilde = beta sigma_s^2 / sigma_t^2, large is beta, and
            learned lies between both in the logarithm, as the network predicts it for each value (Nichol &
            Dhariwal 2021, equation 15). None for the model's own, `model.sampling.variance`.
        randn: function from a tensor to standard normal noise of its shape.

    Yields:
        A State (t, x, x0) after each step.

    Raises:
        FastdiffError: for an unknown variance, and for learned if the network does not predict it.
    """
    variance = denoise.model.sampling.variance if variance is None else variance
    if variance not in ("small", "large", "learned"):
        raise FastdiffError(f"sampler ddpm: variance = {variance!r}: expected small, large or learned")
    levels = denoise.schedule.levels(times)
    for (t, s), ((alpha_t, sigma_t), (alpha_s, sigma_s)) in zip(
        pairwise(times), pairwise(levels), strict=True
    ):
        p = denoise(x, t, s)
        keep = alpha_t / alpha_s  # x_t = keep x_s + noise of variance beta
        beta = sigma_t**2 - (keep * sigma_s) ** 2
        x = p.blend(keep * sigma_s**2 / sigma_t**2, alpha_s * beta / sigma_t**2)
        if sigma_s > 0:
            spread = beta if variance == "large" else beta * sigma_s**2 / sigma_t**2
            noise = randn(x)
            if variance == "learned":  # beta / beta-tilde is (sigma_t / sigma_s)^2
                noise = noise * log_variance_fraction(p).mul_(log(sigma_t / sigma_s)).exp_()
            x = x.add_(noise, alpha=sqrt(spread))
        yield State(s, x, p)


def log_variance_fraction(p: Prediction) -> Tensor:
    """Return the position of the learned log-variance between log beta-tilde (0) and log beta (1).

    The tensor (B, ...) is new, so that the caller may change it in place.
    """
    if p.extra is None or p.extra.shape != p.x0.shape:
        raise FastdiffError(
            "sampler ddpm: variance learned needs a network with twice the data's channels as output: "
            "choose small or large, or train with net.learned_variance"
        )
    return (p.extra + 1).div_(2)


@traits(order="1", noise_option="eta", jumps=True)
def ddim(
    denoise: Guided,
    x: Tensor,
    times: Tensor,
    *,
    eta: Annotated[float, Field(ge=0)] = 0.0,
    randn: Randn = torch.randn_like,
) -> Iterator[State]:
    """DDIM (Song et al. 2021, equation 12); eta 0 is deterministic, eta 1 is ddpm with small variance.

    x_s = alpha_s x0 + sqrt(sigma_s^2 - variance) eps + sqrt(variance) z. At eta 0 it is also the sampler of
    students that predict jumps (progressive distillation, flow maps).

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        eta: standard deviation of the noise relative to that of ddpm, at least 0.
        randn: function from a tensor to standard normal noise of its shape.

    Yields:
        A State (t, x, x0) after each step.
    """
    levels = denoise.schedule.levels(times)
    for (t, s), ((alpha_t, sigma_t), (alpha_s, sigma_s)) in zip(
        pairwise(times), pairwise(levels), strict=True
    ):
        p = denoise(x, t, s)
        variance = min(
            sigma_s**2, (eta * sigma_s / sigma_t) ** 2 * (sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2)
        )
        x = p.combine(x0=alpha_s, eps=sqrt(sigma_s**2 - variance)) if sigma_s > 0 else p.x0
        if variance > 0:
            x = x.add_(randn(x), alpha=sqrt(variance))
        yield State(s, x, p)
