"""Readers of pipelines without prompts: a UNet2DModel in pixels or latents, DiT, consistency models."""

from pathlib import Path
from typing import Any

from ...core.denoiser import Denoiser
from ...core.schedule import Karras
from ...networks import DiT, UNet
from ...networks.autoencoder import Autoencoder
from .components import network, shape_of
from .scheduler_config import CONSISTENCY_SETTINGS, TABLE_SETTINGS, scheduler_settings


def unet(folder: Path, index: dict[str, Any]) -> Denoiser:
    """Load a DDPMPipeline, DDIMPipeline or PNDMPipeline, or an LDMPipeline with its autoencoder."""
    module = network(folder, index, "unet", "UNet2DModel")
    latent = Autoencoder.open(folder) if "vqvae" in index else None
    shape = shape_of(module)
    settings = scheduler_settings(folder, TABLE_SETTINGS)
    return settings.model(UNet.of(module, shape, False), shape, latent=latent)


def dit(folder: Path, index: dict[str, Any]) -> Denoiser:
    """Load a DiTPipeline."""
    module = network(folder, index, "transformer", "DiTTransformer2DModel", "Transformer2DModel")
    shape = shape_of(module)
    settings = scheduler_settings(folder, TABLE_SETTINGS)
    return settings.model(DiT.of(module, shape, False), shape, latent=Autoencoder.open(folder))


def consistency(folder: Path, index: dict[str, Any]) -> Denoiser:
    """Load a ConsistencyModelPipeline, whose labels have no null class."""
    settings = scheduler_settings(folder, CONSISTENCY_SETTINGS)
    module = network(folder, index, "unet", "UNet2DModel")
    if module.config.num_class_embeds:
        module.register_to_config(null_class=False)
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
