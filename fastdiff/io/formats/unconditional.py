"""Readers of pipelines without prompts: a UNet2DModel in pixels or latents, DiT, consistency models."""

from pathlib import Path
from typing import Any

from diffusers import UNet2DModel

from ...core.denoiser import Denoiser
from ...core.schedule import Karras
from ...networks import DiT, UNet
from .components import network, plain_autoencoder, shape_of
from .scheduler_config import CONSISTENCY_SETTINGS, TABLE_SETTINGS, scheduler_settings

DDPM_STEPS = 1000  # default number of steps of a DDPMPipeline


def unet(folder: Path, index: dict[str, Any]) -> Denoiser:
    """Load a DDPMPipeline, DDIMPipeline or PNDMPipeline, or an LDMPipeline with its autoencoder."""
    module = network(folder, index, "unet", "UNet2DModel")
    latent = plain_autoencoder(folder) if "vqvae" in index else None
    shape = shape_of(module)
    pipeline = index.get("_class_name")
    kind = "DDIMScheduler" if pipeline == "DDIMPipeline" else None  # which it makes of any scheduler
    settings = scheduler_settings(folder, TABLE_SETTINGS, kind)
    without_null_class(module)
    steps = DDPM_STEPS if pipeline == "DDPMPipeline" else 0
    return settings.model(UNet.of(module, shape, False), shape, steps, latent=latent)


def without_null_class(module: UNet2DModel) -> None:
    """Let all rows of a class embedding be classes, unless the network's config.json has `null_class`.

    UNet2DModel has no class of its own for no class, as DiT has.
    """
    if module.config.num_class_embeds and "null_class" not in module.config:
        module.register_to_config(null_class=False)


def dit(folder: Path, index: dict[str, Any]) -> Denoiser:
    """Load a DiTPipeline."""
    module = network(folder, index, "transformer", "DiTTransformer2DModel", "Transformer2DModel")
    shape = shape_of(module)
    settings = scheduler_settings(folder, TABLE_SETTINGS)
    return settings.model(DiT.of(module, shape, False), shape, latent=plain_autoencoder(folder))


def consistency(folder: Path, index: dict[str, Any]) -> Denoiser:
    """Load a ConsistencyModelPipeline, whose labels have no null class."""
    settings = scheduler_settings(folder, CONSISTENCY_SETTINGS)
    module = network(folder, index, "unet", "UNet2DModel")
    without_null_class(module)
    shape = shape_of(module)
    return Denoiser(
        UNet.of(module, shape, False),
        Karras(settings.sigma_max),
        "cm",
        shape,
        "cm",
        settings.sigma_data,
        True,
        sampling=settings.sampling,
    )
