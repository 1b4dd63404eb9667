"""Langevin dynamics at fixed noise levels: as a sampler, and as the corrector of a reverse-diffusion step."""

from collections.abc import Iterator
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor

from ..core.broadcast import blend
from ..core.errors import FastdiffError
from ..core.guidance import Guided
from ..core.prediction import Prediction
from .ancestral import Randn
from .state import State, traits


def check_options(sampler: str, snr: float, corrections: int, minimum: int) -> None:
    """Raise FastdiffError for options with which the dynamics stand still or diverge."""
    if not 0 < snr < 1 or corrections < minimum:
        raise FastdiffError(
            f"sampler {sampler}: snr = {snr}, corrections = {corrections}: "
            f"expected snr between 0 and 1, and at least {minimum} corrections"
        )


def norms(x: Tensor) -> Tensor:
    """Return the norm of each sample, (B, ...) -> (B,), at least in float32."""
    return torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=torch.promote_types(x.dtype, torch.float32))


def corrected(p: Prediction, sigma: float, snr: float, a: float, z: Tensor) -> Tensor:
    """Return x + e score + sqrt(2 e) z, with e = 2 a (snr |z| / |score|)^2 and score = -eps / sigma.

    Norms and e are computed per sample.
    """
    e = 2 * a * (snr * sigma * norms(z) / norms(p.eps)) ** 2
    return blend((2 * e).sqrt(), z, -e / sigma, p.eps).add_(p.x)


@traits(order="1", nfe="1 + corrections, the last 1", noise="every step and correction")
def predictor_corrector(
    denoise: Guided,
    x: Tensor,
    times: Tensor,
    *,
    snr: float = 0.16,
    corrections: int = 1,
    randn: Randn = torch.randn_like,
) -> Iterator[State]:
    """Reverse diffusion with Langevin correction steps (Song et al. 2021, score SDEs, algorithms 2 to 5).

    x_s = (2 - keep) x_t + beta score + sqrt(beta) z with score = -eps / sigma_t, where keep = 1 is the VE
    form and beta = 1 - keep^2 the VP form; Langevin steps at s follow. The step into data has no noise and
    ends at x0. Norms are computed per sample, not as the mean over the batch as in the authors' code, so that
    a sample does not depend on its batch. In d dimensions the corrector widens the distribution by a fraction
    of about snr^2 + 4 / d.

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        snr: signal-to-noise ratio of a correction, between 0 and 1.
        corrections: number of Langevin steps after each step, at least 0.
        randn: function from a tensor to standard normal noise of its shape.

    Yields:
        A State (t, x, x0) after each step.

    Raises:
        FastdiffError: for a value out of its range.
    """
    check_options("predictor_corrector", snr, corrections, 0)
    levels = denoise.schedule.levels(times)
    for (t, s), (alpha_t, sigma_t), (alpha_s, sigma_s), onward in zip(
        pairwise(times), levels[:-1], levels[1:], [*levels[2:], None], strict=True
    ):
        p = denoise(x, t, s)
        if sigma_s > 0 and alpha_t == 0:  # x is pure noise: the step of ancestral sampling
            x = p.combine(x0=alpha_s, eps=0.0).add_(randn(x), alpha=sigma_s)
        elif sigma_s > 0:
            keep = alpha_t / alpha_s  # x_t = keep x_s + noise of variance beta
            beta = sigma_t**2 - (keep * sigma_s) ** 2
            mean = p.combine(x0=(2 - keep) * alpha_t, eps=(2 - keep) * sigma_t - beta / sigma_t)
            x = mean.add_(randn(x), alpha=sqrt(beta))
        else:
            x = p.x0
        if onward:
            for _ in range(corrections):
                x = corrected(denoise(x, s, s), sigma_s, snr, (alpha_s / onward[0]) ** 2, randn(x))
        yield State(s, x, p)


@traits(order="1", nfe="corrections, the last 1 more", noise="every correction")
def langevin(
    denoise: Guided,
    x: Tensor,
    times: Tensor,
    *,
    snr: float = 0.16,
    corrections: int = 5,
    randn: Randn = torch.randn_like,
) -> Iterator[State]:
    """Annealed Langevin dynamics (Song & Ermon 2019, algorithm 1), followed by a clean prediction.

    A correction is x + e sigma^2 score + sqrt(2 e) sigma z, with score = -eps / sigma and e = 2 snr^2, the
    paper's alpha_i / 2 in units of sigma^2. x / alpha stays the same from one level to the next, so that
    neighbouring levels must be close. From alpha = 0, where x / alpha is infinite, x becomes pure noise of
    the next level.

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        snr: signal-to-noise ratio of a correction, between 0 and 1.
        corrections: number of Langevin steps at each time, at least 1.
        randn: function from a tensor to standard normal noise of its shape.

    Yields:
        A State (t, x, x0) after each step.

    Raises:
        FastdiffError: for a value out of its range.
    """
    check_options("langevin", snr, corrections, 1)
    e = 2 * snr**2  # in units of sigma^2
    levels = denoise.schedule.levels(times)
    for (t, s), ((alpha_t, sigma_t), (alpha_s, sigma_s)) in zip(
        pairwise(times), pairwise(levels), strict=True
    ):
        for _ in range(corrections):
            p = denoise(x, t, t)
            x = p.combine(x0=alpha_t, eps=(1 - e) * sigma_t).add_(randn(x), alpha=sqrt(2 * e) * sigma_t)
        if sigma_s > 0:
            x = x * (alpha_s / alpha_t if alpha_t > 0 else sigma_s / sigma_t)
        else:
            p = denoise(x, t, s)
            x = p.x0
        yield State(s, x, p)
