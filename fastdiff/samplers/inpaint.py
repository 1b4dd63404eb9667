"""Inpainting with any sampler: a known region of the image is kept."""

from collections.abc import Iterator
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from ..core.broadcast import blend, like
from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.guidance import Guided
from ..core.prediction import Prediction
from ..core.schedule import Schedule
from ..core.wording import unregistered
from . import SAMPLERS, State
from .ancestral import Randn


class Inpaint:
    """A Guided whose x0 is the image where it is known, so that every sampler inpaints.

    It draws no noise: along DDIM the known region is alpha image + sigma (its first noise), and at the end
    the image.

    Args:
        denoise: the model with its condition and guidance.
        image: the image of one sample (...) or of a batch (B, ...).
        mask: 1 where the image is known, else 0, of any shape that broadcasts to the image.

    Raises:
        FastdiffError: for a mask with other values, or that does not broadcast.
    """

    def __init__(self, denoise: Guided, image: Tensor, mask: Tensor) -> None:
        self.denoise = denoise
        self.image = image
        self.known = known_region(mask, image)

    @property
    def model(self) -> Denoiser:
        """The model."""
        return self.denoise.model

    @property
    def schedule(self) -> Schedule:
        """The model's noise schedule."""
        return self.denoise.schedule

    @property
    def nfe(self) -> int:
        """The number of network evaluations so far."""
        return self.denoise.nfe

    def __call__(self, x: Tensor, t: Tensor, s: Tensor) -> Prediction:
        """Return the prediction for x (B, ...) at time t for a jump to time s, with the known region set."""
        p = self.denoise(x, t, s)
        alpha, sigma = self.schedule.alpha_sigma(t)
        image = self.image.to(x.dtype)

        def noise(eps: Tensor) -> Tensor:
            return torch.where(self.known, (x - like(alpha, x) * image) / like(sigma, x), eps)

        return Prediction(
            torch.where(self.known, x, p.x),  # CFG++ moves p.x, but the known region stays
            torch.where(self.known, image, p.x0),
            lambda: noise(p.eps),
            p.extra,
            p.levels,
            None if p.kept is None else lambda: noise(p.kept()),
        )


def repaint(
    denoise: Guided,
    x: Tensor,
    times: Tensor,
    *,
    image: Tensor,
    mask: Tensor,
    sampler: str = "ddpm",
    resamplings: int = 10,
    jump: int = 1,
    randn: Randn = torch.randn_like,
    **options: Any,
) -> Iterator[State]:
    """Inpaint by RePaint: replace the known region by the noised image after every interval of the grid.

    Each group of `jump` intervals, also the last, is sampled `resamplings` times, with fresh noise back to
    its start in between (Lugmayr et al. 2022, algorithm 1). The sampler gets one interval at a time, so that
    multistep samplers are of first order. A State follows every interval.

    Args:
        denoise: the model with its condition and guidance.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,).
        image: the image, as in Inpaint.
        mask: the mask, as in Inpaint.
        sampler: a key of SAMPLERS.
        resamplings: number of times that each group is sampled, at least 1.
        jump: number of intervals in a group, at least 1.
        randn: function from a tensor to standard normal noise of its shape.
        options: options of the sampler.

    Raises:
        FastdiffError: for an unknown sampler, a value out of its range, or a mask that does not fit.
    """
    if sampler not in SAMPLERS:
        raise FastdiffError(unregistered(f"sampler {sampler!r}", sampler, SAMPLERS))
    if min(resamplings, jump) < 1:
        raise FastdiffError(f"repaint: resamplings = {resamplings}, jump = {jump}: expected at least 1")
    known = known_region(mask, image)
    image = image.to(x.dtype)
    levels = denoise.schedule.levels(times)
    last = len(times) - 1
    run = SAMPLERS[sampler]
    if "randn" in signature(run).parameters:
        options["randn"] = randn
    for start in range(0, last, jump):
        end = min(start + jump, last)
        for again in range(resamplings):
            x = diffused(x, levels[end], levels[start], randn) if again else x
            for i in range(start, end):
                *_, state = run(denoise, x, times[i : i + 2], **options)
                alpha, sigma = levels[i + 1]
                noised = blend(sigma, randn(x), alpha, image) if sigma else image
                x = torch.where(known, noised, state.x)
                yield State(times[i + 1], x, torch.where(known, image, state.x0))


def diffused(x: Tensor, start: tuple[float, float], end: tuple[float, float], randn: Randn) -> Tensor:
    """Return x at one (alpha, sigma) with fresh noise added up to another (alpha, sigma)."""
    alpha_start, sigma_start = start
    alpha_end, sigma_end = end
    keep = alpha_end / alpha_start
    return blend(keep, x, max(0.0, sigma_end**2 - (keep * sigma_start) ** 2) ** 0.5, randn(x))


def known_region(mask: Tensor, image: Tensor) -> Tensor:
    """Return a mask of 0 and 1 as booleans of the image's shape.

    Raises:
        FastdiffError: for other values, or a mask that does not broadcast to the image.
    """
    if not ((mask == 0) | (mask == 1)).all():
        raise FastdiffError(
            "mask: expected 1 where the image is known and 0 where it is to be drawn, and no other values"
        )
    try:
        return (mask == 1).expand(image.shape)
    except RuntimeError:
        raise FastdiffError(
            f"mask {tuple(mask.shape)} does not broadcast to the image {tuple(image.shape)}"
        ) from None
