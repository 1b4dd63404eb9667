"""Image editing: samples that start from a noised image, and inpainting of a masked one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.former_names import renamed_arguments
from ..core.validation import named, spelled
from .generate import SampleBatch, Watch, conditions, generate, rows_of
from .inpaint import Inpaint, known_region, repaint
from .plan import SamplingPlan, plan
from .time_grids import Spacing, listed


@renamed_arguments
def edit(
    model: Denoiser,
    init_image: Tensor,
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
    condition_image: Tensor | None = None,
    watch: Watch | None = None,
    shard: tuple[int, int] = (0, 1),
    **options: Any,
) -> Tensor:
    """Return images made from given ones, (n, *image_shape).

    Args:
        model: the model to sample.
        init_image: the images to edit (n, *image_shape).
        mask: 1 where the image is known and stays, 0 where it is drawn, of any shape that broadcasts; None to
            draw all of it.
        strength: share of t_max up to which the image is noised before sampling (SDEdit, Meng et al. 2022).
            At 1 sampling starts from noise, which on a schedule that ends at alpha = 0 keeps nothing of it.
        resamplings: of RePaint (Lugmayr et al. 2022), see `repaint`; 0 to replace x0 instead, see `Inpaint`.
        jump: the number of intervals that RePaint resamples together.
        sampler: a key of SAMPLERS, options in brackets; None for the model's own.
        steps: steps of the grid; None for the model's own.
        spacing: of the grid, see `time_grid`; None for the model's own.
        seed: of the noise.
        labels: one for all images or one each, of a model with classes.
        guidance: weight of guidance, 1 for none.
        batch: images at once.
        prompts: one for all images or one each, of a model of text.
        condition_image: images (k, C, h, w) that the model is conditioned on, one for all images or one
            each; only for models with an image condition.
        watch: called with the indices and each state on the way.
        shard: (rank, number of processes): make the images number rank, rank + processes, ... alone.
        options: options of the sampler and of GuidanceOptions, by name.

    Raises:
        FastdiffError: for an unknown name, a value out of its range, and settings that do not fit the model.
    """
    check_edit(model, init_image, mask, strength, resamplings, jump)
    if strength < 1:
        spacing = truncated(spacing, model, strength)
    way = plan(model, sampler, steps, spacing, options)
    cond = conditions(
        model, len(init_image), labels, prompts, condition_image, guidance, way.guidance_options
    )
    image = init_image.to(model.device)
    mask = None if mask is None else known_region(mask.to(model.device), image)
    clean = model.latent.encode(image)[0] if model.latent else image
    rank, processes = shard
    own = torch.arange(len(image))[rank::processes]
    made: list[SampleBatch] = []
    for rows in own.split(batch):
        run = way
        wrap = None
        if mask is not None and resamplings:
            run = repainted(way, image[rows], mask[rows], resamplings, jump)
        elif mask is not None:
            wrap = partial(Inpaint, image=image[rows], mask=mask[rows])
        made += generate(
            model,
            run,
            rows,
            seed=seed,
            cond=rows_of(cond, rows),
            guidance=guidance,
            batch=batch,
            start=clean[rows] if strength < 1 else None,
            wrap=wrap,
            watch=watch,
        )
    x = torch.cat([image[:0], *(part.x for part in made)])
    return x if mask is None else torch.where(mask[own], image[own].to(x), x)


def check_edit(
    model: Denoiser, image: Tensor, mask: Tensor | None, strength: float, resamplings: int, jump: int
) -> None:
    """Raise FastdiffError for settings of `edit` that do not fit each other or the model."""
    if not 0 < strength <= 1:
        raise FastdiffError(
            f"strength = {strength}: expected a share of t_max, above 0 and at most 1", key="strength"
        )
    shape = tuple(image.shape[1:])
    if model.shape and shape != tuple(model.image_shape):
        raise FastdiffError(f"edit: images of {shape}, the model makes {model.image_shape}")
    if model.latent and mask is not None:
        raise FastdiffError("edit: a mask of pixels is none of latents: give a strength alone")
    if mask is None and strength == 1:
        raise FastdiffError(
            "edit: give a mask, or a strength below 1: otherwise nothing of the image is used"
        )
    if mask is None and (resamplings or jump != 1):
        raise FastdiffError("edit: resamplings and jump are RePaint's: give a mask")


def repainted(way: SamplingPlan, image: Tensor, mask: Tensor, resamplings: int, jump: int) -> SamplingPlan:
    """Return a plan that runs the sampler of another within RePaint."""
    run = partial(repaint, image=image, mask=mask, sampler=way.sampler, resamplings=resamplings, jump=jump)
    return replace(way, sampler=run)


def truncated(spacing: Spacing | None, model: Denoiser, strength: float) -> dict[str, Any]:
    """Return a named spacing that starts at a share of t_max."""
    spacing = model.sampling.spacing if spacing is None else spacing
    if not isinstance(spacing, str | Mapping) or listed(spacing) is not None:
        raise FastdiffError(
            f"spacing {spacing!r}: strength shortens a named grid, and this one lists its times"
        )
    name, options = spelled(spacing, "spacing") if isinstance(spacing, str) else named(spacing, "spacing")
    if "start" in options:
        raise FastdiffError(f"spacing {name}: its start and strength say the same; give one of them")
    return {"name": name, **options, "start": strength}
