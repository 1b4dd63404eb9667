"""A tiny Stable Diffusion with any scheduler of diffusers, and our own sampling of what is recorded of it."""

from inspect import signature
from typing import Any

import torch
from torch import Tensor

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.guidance import Guided
from fastdiff.io.formats.scheduler_config import TABLE_SETTINGS, scheduler_settings
from fastdiff.samplers.plan import plan
from tests.helpers.opened_pipelines import noise

SHAPE = (4, 8, 8)
# Stable Diffusion's: at DDPM's betas alpha is so small that a random network's x0 is in the hundreds.
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
TOLERANCE = 1e-4  # of pixels, relative to the largest where they are above 1


def latents(pipeline, scheduler, steps: int, guidance: float = 1.0) -> Tensor:
    """The latents (1, 4, 8, 8) that the pipeline makes with a scheduler."""
    pipeline.scheduler = scheduler
    prompts = {f"{name}prompt_embeds": embedding(seed) for name, seed in (("", 7), ("negative_", 8))}
    if guidance == 1:
        del prompts["negative_prompt_embeds"]
    return pipeline(
        height=16,
        width=16,
        num_inference_steps=steps,
        guidance_scale=guidance,
        latents=noise(1, *SHAPE),
        output_type="latent",
        generator=torch.Generator().manual_seed(3),
        **prompts,
    ).images


def embedding(seed: int) -> Tensor:
    """A random embedding (1, 12, 8) of a prompt."""
    return noise(1, 12, 8, seed=seed)


def recorded(folder, scheduler, net, **parts: Any) -> Denoiser:
    """Our model of a network with the configuration of a scheduler."""
    scheduler.save_pretrained(folder / "scheduler")
    return scheduler_settings(folder, TABLE_SETTINGS).model(net, SHAPE, **parts)


@torch.no_grad()
def ours(model: Denoiser, scheduler, steps: int, guidance: float = 1.0) -> Tensor:
    """The latents of our own sampling as it is recorded, from the noise of `latents`."""
    way = plan(model, None, steps)
    scheduler.set_timesteps(steps)
    first = float(scheduler.init_noise_sigma)
    alpha, _ = model.schedule.levels(way.times[:1])[0]
    scale = first * alpha if first > 1.000001 else 1.0  # schedulers in sigma hold x / alpha
    generator = torch.Generator().manual_seed(3)
    options = dict(way.sampler_options)
    if "randn" in signature(way.run).parameters:
        options["randn"] = lambda x: torch.randn(x.shape, generator=generator)
    denoise = Guided(
        model,
        {"text": embedding(7)},
        {"text": embedding(8)} if guidance != 1 else None,
        guidance,
        **vars(way.guidance_options),
    )
    *_, last = way.run(denoise, noise(1, *SHAPE) * scale, way.times, **options)
    return last.x


def differ(one: Tensor, other: Tensor) -> float:
    """The largest difference of two tensors, relative to the largest value where that is above 1."""
    assert other.isfinite().all() and other.std() > 0.05
    return float((one - other).abs().max() / other.abs().max().clamp(min=1))


def distance(opened, folder, scheduler, steps: int = 4, guidance: float = 1.0) -> float:
    """How far our latents are from the pipeline's with a scheduler, at most."""
    pipeline, model, _ = opened("sd")
    mine = recorded(folder, scheduler, model.net)
    return differ(ours(mine, scheduler, steps, guidance), latents(pipeline, scheduler, steps, guidance))
