"""Pipelines of diffusers with prompts: Stable Diffusion and SDXL, their LCMs, PixArt, Stable Diffusion 3, Flux."""

from pathlib import Path
from typing import Any

from ...core.denoiser import Denoiser
from ...core.schedule import Flow
from ...networks import TextUNet
from ...networks.autoencoder import Autoencoder
from ...networks.text_encoder import TextEncoder
from ...networks.transformers import SD3, Flux, PixArt
from .components import fitted, network, shape_of
from .scheduler_config import FLOWS, TABLES, described

LCM_WEIGHTS = (1.0, 15.0)  # of guidance that an LCM is trained to be told
FLUX_WEIGHTS = (1.0, 10.0)  # and a Flux, whose authors do not say
FLUX_SIDE = 128  # of the latents that its pipeline makes


def stable_diffusion(folder: Path, index: dict[str, Any]) -> Denoiser:
    """StableDiffusionPipeline, StableDiffusionXLPipeline, LatentConsistencyModelPipeline."""
    table, module = described(folder, TABLES), network(folder, index, "unet", "UNet2DConditionModel")
    guided, shape = bool(module.config.time_cond_proj_dim), shape_of(module)
    return table.model(
        TextUNet.of(module, shape, guided),
        shape,
        guidance=LCM_WEIGHTS if guided else None,
        **beside(folder, index),
    )


def pixart(folder: Path, index: dict[str, Any]) -> Denoiser:
    """PixArtAlphaPipeline, PixArtSigmaPipeline."""
    module = network(folder, index, "transformer", "PixArtTransformer2DModel", "Transformer2DModel")
    shape = shape_of(module)
    return described(folder, TABLES).model(PixArt.of(module, shape, False), shape, **beside(folder, index))


def sd3(folder: Path, index: dict[str, Any]) -> Denoiser:
    """StableDiffusion3Pipeline."""
    scheduler, module = (
        described(folder, FLOWS),
        network(folder, index, "transformer", "SD3Transformer2DModel"),
    )
    shape = shape_of(module)
    sampling = scheduler.sampling_to_sigma_min(shape[1] * shape[2] // module.config.patch_size**2)
    return flowing(SD3.of(module, shape, False), shape, sampling=sampling, **beside(folder, index))


def flux(folder: Path, index: dict[str, Any]) -> Denoiser:
    """FluxPipeline."""
    scheduler, module = (
        described(folder, FLOWS),
        network(folder, index, "transformer", "FluxTransformer2DModel"),
    )
    guided, shape = module.config.guidance_embeds, (module.config.in_channels // 4, FLUX_SIDE, FLUX_SIDE)
    return flowing(
        Flux.of(module, shape, guided),
        shape,
        sampling=scheduler.sampling(FLUX_SIDE**2 // 4),
        guidance=FLUX_WEIGHTS if guided else None,
        **beside(folder, index),
    )


def flowing(net: Any, shape: tuple[int, ...], **parts: Any) -> Denoiser:
    """A network of flow matching as a model."""
    return fitted(Denoiser(net, Flow(), "velocity", shape, "thousand", **parts))


def beside(folder: Path, index: dict[str, Any]) -> dict[str, Any]:
    """What decodes the latents and what embeds the prompts."""
    return {"latent": Autoencoder.open(folder), "text": TextEncoder.open(folder, index)}
