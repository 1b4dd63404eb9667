"""Readers of pipelines with prompts: Stable Diffusion, SDXL, LCM, PixArt, Stable Diffusion 3, Flux."""

from pathlib import Path
from typing import Any

from ...core.denoiser import Denoiser
from ...core.network import Network
from ...core.schedule import Flow
from ...networks import TextUNet
from ...networks.transformers import SD3, Flux, PixArt
from .components import fitted, latents_and_text, network, shape_of
from .scheduler_config import FLOW_SETTINGS, TABLE_SETTINGS, scheduler_settings

LCM_GUIDANCE = (1.0, 15.0)  # range of guidance weights that LCMs are trained with
FLUX_GUIDANCE = (1.0, 10.0)  # range of guidance weights for Flux, whose authors do not state one
SDXL = "StableDiffusionXLPipeline"
# The settings of an autoencoder that pipelines decode latents with; the others take its scaling_factor alone.
SDXL_UNITS = ("scaling_factor", "latents_mean", "latents_std")
FLOW_UNITS = ("scaling_factor", "shift_factor")
PIXART_STEPS = 20  # default number of steps of a PixArtAlphaPipeline or PixArtSigmaPipeline
FLUX_SIDE = 128  # side of the latents that FluxPipeline generates by default


def stable_diffusion(folder: Path, index: dict[str, Any]) -> Denoiser:
    """Load a StableDiffusionPipeline, StableDiffusionXLPipeline or LatentConsistencyModelPipeline."""
    pipeline = index.get("_class_name")
    # StableDiffusionPipeline corrects old configurations of schedulers
    replaced = {"clip_sample": False, "steps_offset": 1} if pipeline == "StableDiffusionPipeline" else {}
    settings = scheduler_settings(folder, TABLE_SETTINGS, **replaced)
    module = network(folder, index, "unet", "UNet2DConditionModel")
    guided = bool(module.config.time_cond_proj_dim)
    shape = shape_of(module)
    return settings.model(
        TextUNet.of(module, shape, guided),
        shape,
        guidance=LCM_GUIDANCE if guided else None,
        **latents_and_text(folder, index, SDXL_UNITS if pipeline == SDXL else ("scaling_factor",)),
    )


def pixart(folder: Path, index: dict[str, Any]) -> Denoiser:
    """Load a PixArtAlphaPipeline or PixArtSigmaPipeline."""
    module = network(folder, index, "transformer", "PixArtTransformer2DModel", "Transformer2DModel")
    shape = shape_of(module)
    settings = scheduler_settings(folder, TABLE_SETTINGS)
    return settings.model(
        PixArt.of(module, shape, False), shape, PIXART_STEPS, **latents_and_text(folder, index)
    )


def sd3(folder: Path, index: dict[str, Any]) -> Denoiser:
    """Load a StableDiffusion3Pipeline."""
    settings = scheduler_settings(folder, FLOW_SETTINGS)
    module = network(folder, index, "transformer", "SD3Transformer2DModel")
    shape = shape_of(module)
    patches = shape[1] * shape[2] // module.config.patch_size**2
    return flow_model(
        SD3.of(module, shape, False),
        shape,
        sampling=settings.sampling_to_sigma_min(patches),
        **latents_and_text(folder, index, FLOW_UNITS),
    )


def flux(folder: Path, index: dict[str, Any]) -> Denoiser:
    """Load a FluxPipeline."""
    settings = scheduler_settings(folder, FLOW_SETTINGS)
    module = network(folder, index, "transformer", "FluxTransformer2DModel")
    guided = module.config.guidance_embeds
    shape = (module.config.in_channels // 4, FLUX_SIDE, FLUX_SIDE)
    return flow_model(
        Flux.of(module, shape, guided),
        shape,
        sampling=settings.sampling(FLUX_SIDE**2 // 4),
        guidance=FLUX_GUIDANCE if guided else None,
        **latents_and_text(folder, index, FLOW_UNITS),
    )


def flow_model(net: Network, shape: tuple[int, ...], **parts: Any) -> Denoiser:
    """Return a model with a flow-matching network.

    Args:
        net: the network, which predicts a velocity and takes the time 1000 t.
        shape: shape of one sample.
        parts: further arguments of Denoiser.
    """
    return fitted(Denoiser(net, Flow(), "velocity", shape, "thousand", **parts))
