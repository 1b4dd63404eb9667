"""The parts of a diffusers pipeline's folder: where each lies, its network, and the shape of its samples."""

from pathlib import Path
from typing import Any

import diffusers
from diffusers import ModelMixin

from ...core.denoiser import Denoiser
from ...core.errors import FastdiffError
from ...core.validation import sized
from ...networks.pretrained import check_weights, opened


def part(folder: Path, name: str) -> Path:
    """The folder of a part: of its name, or the pipeline's own, as in the oldest repositories."""
    return folder / name if (folder / name).is_dir() else folder


def network(folder: Path, index: dict[str, Any], name: str, kind: str, once: str = "") -> ModelMixin:
    """The network of a pipeline, of a class of diffusers; once: the class's former name."""
    if index.get(name) not in (["diffusers", kind], ["diffusers", once]):
        raise FastdiffError(f"{name}: {index.get(name)!r:.80} is not supported, only a {kind}")
    check_weights(part(folder, name))
    return opened(getattr(diffusers, kind), part(folder, name))


def shape_of(module: ModelMixin) -> tuple[int, ...]:
    """Of the samples that a network with a sample_size was trained on."""
    size = module.config.sample_size
    if not isinstance(size, int | list | tuple):
        raise ValueError(
            f"sample_size: {size!r:.80} in its config.json, expected a number, or height and width"
        )
    return sized((module.config.in_channels, *((size, size) if isinstance(size, int) else size)))


def fitted(model: Denoiser) -> Denoiser:
    """The model, its latents held to its autoencoder's, and its network told what pictures are behind them."""
    if model.latent:
        pixels = model.image_shape[1] // model.shape[1]  # FastdiffError where they are not
        if hasattr(model.net, "pixels"):
            model.net.pixels = pixels
    return model
