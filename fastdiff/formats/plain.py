"""Pipelines of diffusers without prompts: of a UNet2DModel in pixels or latents, consistency models, DiT."""

from pathlib import Path
from typing import Any

from ..denoiser import Denoiser
from ..networks import UNet
from ..networks.latent import Autoencoder
from ..schedule import Karras
from .parts import fitted, network, shape_of
from .schedulers import TABLES, Consistency, Table, described


def unconditional(folder: Path, index: dict[str, Any]) -> Denoiser:
    """DDPMPipeline, DDIMPipeline, PNDMPipeline; LDMPipeline has an autoencoder too."""
    table, module = described(Table, folder, TABLES), network(folder, index, "unet", "UNet2DModel")
    shape, latent = shape_of(module), Autoencoder.open(folder) if "vqvae" in index else None
    return fitted(Denoiser(UNet.of(module, shape, False), table.schedule, table.predicts, shape, sampling=table.sampling,
                           latent=latent))


def dit(folder: Path, index: dict[str, Any]) -> Denoiser:
    """DiTPipeline."""
    from ..networks.dit import DiT

    table = described(Table, folder, TABLES)
    module = network(folder, index, "transformer", "DiTTransformer2DModel", "Transformer2DModel")
    shape = shape_of(module)
    return fitted(Denoiser(DiT.of(module, shape, False), table.schedule, table.predicts, shape, sampling=table.sampling,
                           latent=Autoencoder.open(folder)))


def consistency(folder: Path, index: dict[str, Any]) -> Denoiser:
    """ConsistencyModelPipeline; its labels know no null class."""
    scheduler = described(Consistency, folder, ("CMStochasticIterativeScheduler",))
    module = network(folder, index, "unet", "UNet2DModel")
    if module.config.num_class_embeds:
        module.register_to_config(null_class=False)
    shape = shape_of(module)
    return Denoiser(UNet.of(module, shape, False), Karras(scheduler.sigma_max), "cm", shape, "cm", scheduler.sigma_data, True,
                    sampling=scheduler.sampling)
