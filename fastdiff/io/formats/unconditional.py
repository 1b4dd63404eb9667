"""Pipelines of diffusers without prompts: of a UNet2DModel in pixels or latents, DiT, consistency models."""

from pathlib import Path
from typing import Any

from ...core.denoiser import Denoiser
from ...core.schedule import Karras
from ...networks import DiT, UNet
from ...networks.autoencoder import Autoencoder
from .components import network, shape_of
from .scheduler_config import JUMPS, TABLES, described


def unconditional(folder: Path, index: dict[str, Any]) -> Denoiser:
    """DDPMPipeline, DDIMPipeline, PNDMPipeline; LDMPipeline has an autoencoder too."""
    module, latent = (
        network(folder, index, "unet", "UNet2DModel"),
        Autoencoder.open(folder) if "vqvae" in index else None,
    )
    shape = shape_of(module)
    return described(folder, TABLES).model(UNet.of(module, shape, False), shape, latent=latent)


def dit(folder: Path, index: dict[str, Any]) -> Denoiser:
    """DiTPipeline."""
    module = network(folder, index, "transformer", "DiTTransformer2DModel", "Transformer2DModel")
    shape = shape_of(module)
    return described(folder, TABLES).model(
        DiT.of(module, shape, False), shape, latent=Autoencoder.open(folder)
    )


def consistency(folder: Path, index: dict[str, Any]) -> Denoiser:
    """ConsistencyModelPipeline; its labels know no null class."""
    scheduler, module = described(folder, JUMPS), network(folder, index, "unet", "UNet2DModel")
    if module.config.num_class_embeds:
        module.register_to_config(null_class=False)
    shape = shape_of(module)
    return Denoiser(
        UNet.of(module, shape, False),
        Karras(scheduler.sigma_max),
        "cm",
        shape,
        "cm",
        scheduler.sigma_data,
        True,
        sampling=scheduler.sampling,
    )
