"""Images as conditions: edits that start from a noised image, and inpainting, through the interface of every sampler."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
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
from ..core.validation import named, spelled
from . import SAMPLERS, State
from .ancestral import Randn
from .generate import Watch, conditions, generate, rows_of
from .plan import plan
from .time_grids import Spacing, listed


def edit(
    model: Denoiser,
    image: Tensor,
    *,
    mask: Tensor | None = None,
    strength: float = 1.0,
    resamplings: int = 0,
    jump: int = 1,
    sampler: str | None = None,
    steps: int | None = None,
    spacing: Spacing | None = None,
    seed: int = 0,
    labels: Tensor | int | None = None,
    guidance: float = 1.0,
    batch: int = 512,
    prompts: str | Sequence[str] | None = None,
    upon: Tensor | None = None,
    watch: Watch | None = None,
    share: tuple[int, int] = (0, 1),
    **options: Any,
) -> Tensor:
    """Images (n, *image_shape) made from given ones; what is not named is as in `sample`, share too.

    upon: what `sample` calls image, of models that are conditioned on one.

    strength: share of t_max up to which the image is noised before sampling (SDEdit, Meng et al. 2022); of 1 nothing of it
    is left where alpha = 0. mask: 1 where the image is known and stays, 0 where it is drawn, of any shape that broadcasts.
    resamplings: of RePaint, 0 to replace x0 instead; jump: the intervals it resamples together.
    """
    if not 0 < strength <= 1:
        raise FastdiffError(f"strength = {strength}: expected a share of t_max, above 0 and at most 1")
    shape = tuple(image.shape[1:])
    for wrong, line in (
        (
            model.shape and shape != tuple(model.image_shape),
            f"edit: images of {shape}, the model makes {model.image_shape}",
        ),
        (
            model.latent and mask is not None,
            "edit: a mask of pixels is none of latents: give a strength alone",
        ),
        (
            mask is None and strength == 1,
            "edit: give a mask, or a strength below 1: otherwise nothing of the image is used",
        ),
        (
            mask is None and (resamplings or jump != 1),
            "edit: resamplings and jump are RePaint's: give a mask",
        ),
    ):
        if wrong:
            raise FastdiffError(line)
    if strength < 1:
        spacing = truncated(spacing, model, strength)
    way = plan(model, sampler, steps, spacing, options)
    cond = conditions(model, len(image), labels, prompts, upon, guidance, way.guidance_options)
    image, made, own = image.to(model.device), [], torch.arange(len(image))[share[0] :: share[1]]
    mask = None if mask is None else known_region(mask.to(model.device), image)
    begun = model.latent.encode(image)[0] if model.latent else image
    for rows in own.split(batch):
        walk, wrap = way, None
        if mask is not None and resamplings:
            known = {"image": image[rows], "mask": mask[rows]}
            run = partial(repaint, **known, sampler=way.sampler, resamplings=resamplings, jump=jump)
            walk = replace(way, sampler=run)
        elif mask is not None:
            wrap = partial(Inpaint, image=image[rows], mask=mask[rows])
        made += generate(
            model,
            walk,
            rows,
            seed=seed,
            cond=rows_of(cond, rows),
            guidance=guidance,
            batch=batch,
            start=begun[rows] if strength < 1 else None,
            wrap=wrap,
            watch=watch,
        )
    x = torch.cat([image[:0], *(part.x for part in made)])
    return x if mask is None else torch.where(mask[own], image[own].to(x), x)


def truncated(spacing: Spacing | None, model: Denoiser, strength: float) -> dict[str, Any]:
    """A named spacing that starts at a share of t_max."""
    spacing = model.sampling.spacing if spacing is None else spacing
    if not isinstance(spacing, str | Mapping) or listed(spacing) is not None:
        raise FastdiffError(
            f"spacing {spacing!r}: strength shortens a named grid, and this one lists its times"
        )
    name, options = spelled(spacing, "spacing") if isinstance(spacing, str) else named(spacing, "spacing")
    if "start" in options:
        raise FastdiffError(f"spacing {name}: its start and strength say the same; give one of them")
    return {"name": name, **options, "start": strength}


class Inpaint:
    """A Guided whose x0 is the image wherever the mask is 1 (known): the same call, so that every sampler inpaints.

    image, mask: of one sample or of a batch, the mask 0 and 1, and of any shape that broadcasts to the image's.
    Deterministic: along DDIM the known region is alpha image + sigma (its own first noise), and at the end the image.
    """

    def __init__(self, denoise: Guided, image: Tensor, mask: Tensor) -> None:
        self.denoise, self.image, self.known = denoise, image, known_region(mask, image)

    @property
    def schedule(self) -> Schedule:
        return self.denoise.schedule

    @property
    def nfe(self) -> int:
        return self.denoise.nfe

    def __call__(self, x: Tensor, t: Tensor, s: Tensor) -> Prediction:
        p, (alpha, sigma), image = self.denoise(x, t, s), self.schedule.alpha_sigma(t), self.image.to(x.dtype)
        return Prediction(
            torch.where(self.known, x, p.x),  # CFG++ moves its point, which the known region does not follow
            torch.where(self.known, image, p.x0),
            lambda: torch.where(self.known, (x - like(alpha, x) * image) / like(sigma, x), p.eps),
            p.extra,
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
    """RePaint (Lugmayr et al. 2022, algorithm 1): the image, noised afresh, replaces the known region after every interval.

    Each stretch of `jump` intervals is walked `resamplings` times, with fresh noise back to its start in
    between; the last one, into the data, too. Yields every interval walked. The sampler meets one interval at
    a time: a multistep one is first order here. image, mask: as in Inpaint. options: the sampler's.
    """
    if sampler not in SAMPLERS:
        raise FastdiffError(f"sampler {sampler!r} is unknown, choose from {', '.join(SAMPLERS)}")
    if min(resamplings, jump) < 1:
        raise FastdiffError(f"repaint: resamplings = {resamplings}, jump = {jump}: expected at least 1")
    known, levels, last = known_region(mask, image), denoise.schedule.levels(times), len(times) - 1
    walk, image = SAMPLERS[sampler], image.to(x.dtype)
    options |= {"randn": randn} if "randn" in signature(walk).parameters else {}
    for start in range(0, last, jump):
        end = min(start + jump, last)
        for again in range(resamplings):
            x = diffused(x, levels[end], levels[start], randn) if again else x
            for i in range(start, end):
                *_, state = walk(denoise, x, times[i : i + 2], **options)
                alpha, sigma = levels[i + 1]
                x = torch.where(known, blend(sigma, randn(x), alpha, image) if sigma else image, state.x)
                yield State(times[i + 1], x, torch.where(known, image, state.x0))


def diffused(x: Tensor, here: tuple[float, float], there: tuple[float, float], randn: Randn) -> Tensor:
    """x at one (alpha, sigma) with the noise that takes it up to another."""
    keep = there[0] / here[0]
    return blend(keep, x, max(0.0, there[1] ** 2 - (keep * here[1]) ** 2) ** 0.5, randn(x))


def known_region(mask: Tensor, image: Tensor) -> Tensor:
    """A mask of 0 and 1 as booleans, checked against the image."""
    if not ((mask == 0) | (mask == 1)).all():
        raise FastdiffError(
            "mask: expected 1 where the image is known and 0 where it is to be drawn, nothing between"
        )
    try:
        return (mask == 1).expand(image.shape)
    except RuntimeError:
        raise FastdiffError(
            f"mask {tuple(mask.shape)} does not broadcast to the image {tuple(image.shape)}"
        ) from None
