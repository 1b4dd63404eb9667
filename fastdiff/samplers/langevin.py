"""Langevin dynamics at fixed levels of noise: alone, and as the corrector of a reverse-diffusion step."""

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


def check(sampler: str, snr: float, corrections: int, least: int) -> None:
    """Refuse options with which the dynamics do not move, or blow up."""
    if not 0 < snr < 1 or corrections < least:
        raise FastdiffError(
            f"sampler {sampler}: snr = {snr}, corrections = {corrections}; "
            f"expected snr between 0 and 1, and at least {least} corrections"
        )


def norms(x: Tensor) -> Tensor:
    """Of each sample by itself, in float32 at least: (B, ...) -> (B,)."""
    return torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=torch.promote_types(x.dtype, torch.float32))


def corrected(p: Prediction, sigma: float, snr: float, a: float, z: Tensor) -> Tensor:
    """One step x + e score + sqrt(2 e) z, with e = 2 a (snr |z| / |score|)^2 of each sample and score = -eps / sigma."""
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
    """Reverse diffusion, then Langevin steps at the level reached (Song et al. 2021, score SDEs, algorithms 2 to 5).

    x_s = (2 - keep) x_t + beta score + sqrt(beta) z, of which keep = 1 is the VE form and beta = 1 - keep^2
    the VP form. The step into data has no noise and ends on x0. Norms are each sample's own, not the batch's
    mean as in the authors' code, so that no sample hangs on its neighbours. In d dimensions the corrector
    widens by a share of about snr^2 + 4 / d.
    """
    check("predictor_corrector", snr, corrections, 0)
    levels = denoise.schedule.levels(times)
    for (t, s), (alpha_t, sigma_t), (alpha_s, sigma_s), onward in zip(
        pairwise(times), levels[:-1], levels[1:], [*levels[2:], None], strict=True
    ):
        p = denoise(x, t, s)
        if sigma_s > 0 and alpha_t == 0:  # nothing of x is kept: ancestral sampling's step
            x = p.blend(0.0, alpha_s).add_(randn(x), alpha=sigma_s)
        elif sigma_s > 0:
            keep = alpha_t / alpha_s  # x_t = keep x_s + noise of variance beta
            beta = sigma_t**2 - (keep * sigma_s) ** 2
            x = p.blend(2 - keep - beta / sigma_t**2, alpha_t * beta / sigma_t**2).add_(
                randn(x), alpha=sqrt(beta)
            )
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
    """Annealed Langevin dynamics (Song & Ermon 2019, algorithm 1), ended by a clean prediction.

    At each level steps of e = 2 (snr sigma)^2, their alpha_i / 2; x / alpha stays what it is from one level
    to the next, so neighbouring levels must be near. From alpha = 0, where that is infinite, x starts as pure
    noise of the next level.
    """
    check("langevin", snr, corrections, 1)
    e = 2 * snr**2  # in units of sigma^2
    levels = denoise.schedule.levels(times)
    for (t, s), ((alpha_t, sigma_t), (alpha_s, sigma_s)) in zip(
        pairwise(times), pairwise(levels), strict=True
    ):
        for _ in range(corrections):
            p = denoise(x, t, t)
            x = p.blend(1 - e, e * alpha_t).add_(randn(x), alpha=sqrt(2 * e) * sigma_t)
        if sigma_s > 0:
            x = x * (alpha_s / alpha_t if alpha_t > 0 else sigma_s / sigma_t)
        else:
            p = denoise(x, t, s)
            x = p.x0
        yield State(s, x, p)
