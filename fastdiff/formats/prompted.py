"""Pipelines of diffusers with prompts: Stable Diffusion and SDXL, LCM, PixArt, Stable Diffusion 3, Flux."""

from pathlib import Path
from typing import Any

from ..denoiser import Denoiser
from ..networks import TextUNet
from ..networks.latent import Autoencoder
from ..networks.text import TextEncoder
from ..networks.transformers import SD3, Flux, PixArt
from ..schedule import Flow
from .parts import fitted, network, shape_of
from .schedulers import TABLES, FlowMatching, LatentConsistency, Table, described

WEIGHTS = (1.0, 15.0)            # of guidance that LCM is trained to be told
FLUX_WEIGHTS = (1.0, 10.0)       # and Flux, whose authors do not say
FLUX_SIDE = 128                  # of the latents that a pipeline of Flux makes


def stable_diffusion(folder: Path, index: dict[str, Any]) -> Denoiser:
    """StableDiffusionPipeline, StableDiffusionXLPipeline."""
    table, module = described(Table, folder, TABLES), network(folder, index, "unet", "UNet2DConditionModel")
    guided, shape = bool(module.config.time_cond_proj_dim), shape_of(module)
    return fitted(Denoiser(TextUNet.of(module, shape, guided), table.schedule, table.predicts, shape, sampling=table.sampling,
                           guidance=WEIGHTS if guided else None, **beside(folder, index)))


def latent_consistency(folder: Path, index: dict[str, Any]) -> Denoiser:
    """LatentConsistencyModelPipeline."""
    table = described(LatentConsistency, folder, ("LCMScheduler",))
    module = network(folder, index, "unet", "UNet2DConditionModel")
    guided, shape = bool(module.config.time_cond_proj_dim), shape_of(module)
    return fitted(Denoiser(
        TextUNet.of(module, shape, guided), table.schedule, f"lcm_{table.predicts}", shape, sigma_data=0.5,
        sampling=table.sampling, guidance=WEIGHTS if guided else None, **beside(folder, index)))


def pixart(folder: Path, index: dict[str, Any]) -> Denoiser:
    """PixArtAlphaPipeline, PixArtSigmaPipeline."""
    table = described(Table, folder, TABLES)
    module = network(folder, index, "transformer", "PixArtTransformer2DModel", "Transformer2DModel")
    shape = shape_of(module)
    return fitted(Denoiser(PixArt.of(module, shape, False), table.schedule, table.predicts, shape, sampling=table.sampling,
                           **beside(folder, index)))


def sd3(folder: Path, index: dict[str, Any]) -> Denoiser:
    """StableDiffusion3Pipeline."""
    scheduler = described(FlowMatching, folder, ("FlowMatchEulerDiscreteScheduler",))
    module = network(folder, index, "transformer", "SD3Transformer2DModel")
    shape = shape_of(module)
    patches = shape[1] * shape[2] // module.config.patch_size**2
    return fitted(Denoiser(SD3.of(module, shape, False), Flow(), "velocity", shape, "thousand",
                           sampling=scheduler.sampling_to_sigma_min(patches), **beside(folder, index)))


def flux(folder: Path, index: dict[str, Any]) -> Denoiser:
    """FluxPipeline."""
    scheduler = described(FlowMatching, folder, ("FlowMatchEulerDiscreteScheduler",))
    module = network(folder, index, "transformer", "FluxTransformer2DModel")
    guided, shape = module.config.guidance_embeds, (module.config.in_channels // 4, FLUX_SIDE, FLUX_SIDE)
    return fitted(Denoiser(Flux.of(module, shape, guided), Flow(), "velocity", shape, "thousand",
                           sampling=scheduler.sampling(FLUX_SIDE**2 // 4), guidance=FLUX_WEIGHTS if guided else None,
                           **beside(folder, index)))


def beside(folder: Path, index: dict[str, Any]) -> dict[str, Any]:
    """What decodes the latents and what embeds the prompts."""
    return {"latent": Autoencoder.open(folder), "text": TextEncoder.open(folder, index)}
