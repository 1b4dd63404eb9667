"""Image editing: sampling from a noised image, and inpainting of a masked image."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..core.defaults import float32_on_cpu
from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError, checked_integer
from ..core.former_names import renamed_arguments
from ..core.guidance import usual_guidance
from ..core.public_arguments import takes_a_model
from ..core.validation import named, spelled
from .conditions import conditions, rows_of
from .generate import MAX_SAMPLES, SampleBatch, Watch, generate
from .inpaint import Inpaint, known_region, repaint
from .plan import SamplingPlan, plan
from .time_grids import Spacing, listed


@takes_a_model
@renamed_arguments
@float32_on_cpu()
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
    guidance: float | None = None,
    batch: int = 512,
    prompts: str | Sequence[str] | None = None,
    condition_image: Tensor | None = None,
    watch: Watch | None = None,
    shard: tuple[int, int] = (0, 1),
    negative_prompts: str | Sequence[str] | None = None,
    **options: Any,
) -> Tensor:
    """Edit images: regenerate them from a noised version (SDEdit), or regenerate a masked region.

        model = fastdiff.load("checkpoints/digits-labels/teacher")
        variants = fastdiff.edit(model, images, strength=0.6, labels=3)
        inpainted = fastdiff.edit(model, images, mask=known, sampler="ddim", steps=50)

    Args:
        model: the model to sample, or what `sample` opens.
        init_image: images to edit (n, *image_shape), in [-1, 1].
        mask: 1 where the image is known and kept, 0 where it is drawn, of any shape that broadcasts to
            init_image; None to draw the whole image.
        strength: fraction of t_max, above 0 and at most 1, up to which the image is noised before sampling
            (SDEdit, Meng et al. 2022). At 1 sampling starts from noise only, so that a mask is needed.
        resamplings: number of times that RePaint samples each interval (Lugmayr et al. 2022, see `repaint`);
            0 to inpaint by replacing x0 (see `Inpaint`).
        jump: number of intervals that RePaint samples together.
        sampler: a key of SAMPLERS, with options in brackets; None for the model's default.
        steps: number of steps of the time grid; None for the model's default.
        spacing: spacing of the time grid, see `time_grid`; None for the model's default.
        seed: seed of the noise; image i depends on it and on i, but not on the batch size.
        labels: class of all images or of each image (n,), for a model with classes.
        guidance: guidance weight; 1 turns guidance off. None for 1, or the nearest that the model takes.
        batch: number of images in a batch.
        prompts: prompt of all images or of each image (n), for a model with prompts.
        condition_image: condition image (1, C, h, w) of all images or (n, C, h, w) of each image, in [-1, 1],
            for a model with a condition image.
        watch: function that is called with the indices (B,) of a batch and each State.
        shard: (rank, number of processes): edit only the images number rank, rank + processes, ...
        negative_prompts: prompt of all images or of each image (n) to guide against, in place of the empty
            one.
        options: options of the sampler and of GuidanceOptions, by name.

    Returns:
        The edited images (n, *image_shape), about in [-1, 1]; with `shard` only those of this rank. The
        known region is exactly that of init_image.

    Raises:
        FastdiffError: for an unknown name, a value out of its range, and settings that do not fit the model.
    """
    check_edit(model, init_image, mask, strength, resamplings, jump)
    if strength < 1:
        spacing = truncated(spacing, model, strength)
    way = plan(model, sampler, steps, spacing, options)
    guidance = usual_guidance(model) if guidance is None else guidance
    cond = conditions(
        model,
        len(init_image),
        labels,
        prompts,
        condition_image,
        guidance,
        way.guidance_options,
        negative_prompts,
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
    """Raise FastdiffError if settings of `edit` do not fit each other or the model."""
    for name, value, least in (("resamplings", resamplings, 0), ("jump", jump, 1)):
        checked_integer(name, value, least, MAX_SAMPLES)
    if not 0 < strength <= 1:
        raise FastdiffError(
            f"strength = {strength}: expected a fraction of t_max, above 0 and at most 1", key="strength"
        )
    shape = tuple(image.shape[1:])
    if model.shape and shape != tuple(model.image_shape):
        raise FastdiffError(
            f"init_image of shape {shape}: expected images of shape {tuple(model.image_shape)}"
        )
    if model.latent and mask is not None:
        raise FastdiffError("mask: a model of latents takes no mask; give only a strength")
    if mask is None and strength == 1:
        raise FastdiffError("edit: give a mask, or a strength below 1: otherwise the image has no effect")
    if mask is None and (resamplings or jump != 1):
        raise FastdiffError("edit: resamplings and jump are options of RePaint: give a mask")


def repainted(way: SamplingPlan, image: Tensor, mask: Tensor, resamplings: int, jump: int) -> SamplingPlan:
    """Return a plan that runs the sampler of a given plan within RePaint."""
    run = partial(repaint, image=image, mask=mask, sampler=way.sampler, resamplings=resamplings, jump=jump)
    return replace(way, sampler=run)


def truncated(spacing: Spacing | None, model: Denoiser, strength: float) -> dict[str, Any]:
    """Return a named spacing that starts at a fraction of t_max."""
    spacing = model.sampling.spacing if spacing is None else spacing
    if not isinstance(spacing, str | Mapping) or listed(spacing) is not None:
        raise FastdiffError(f"spacing {spacing!r}: strength needs a named spacing, not a list of times")
    name, options = spelled(spacing, "spacing") if isinstance(spacing, str) else named(spacing, "spacing")
    if "start" in options:
        raise FastdiffError(f"spacing {name}: start and strength both set the first time; give only one")
    return {"name": name, **options, "start": strength}
