"""The components in the folder of a diffusers pipeline: their folders, networks, and sample shapes."""

from pathlib import Path
from typing import Any

import diffusers
from diffusers import ModelMixin

from ...core.denoiser import Denoiser
from ...core.errors import FastdiffError
from ...core.validation import sized
from ...networks.autoencoder import Autoencoder
from ...networks.pretrained import check_weights, opened
from ...networks.text_encoder import TextEncoder
from ...networks.text_fit import check_widths

# Settings of an autoencoder that change the units of its latents.
UNITS = ("scaling_factor", "shift_factor", "latents_mean", "latents_std")


def component_dir(folder: Path, name: str) -> Path:
    """Return the folder of a component: its subfolder, or the pipeline's folder in old repositories."""
    return folder / name if (folder / name).is_dir() else folder


def network(folder: Path, index: dict[str, Any], name: str, kind: str, former: str = "") -> ModelMixin:
    """Open the network of a pipeline.

    Args:
        folder: the pipeline's folder.
        index: the contents of its model_index.json.
        name: name of the component in the index.
        kind: the class of diffusers that the component has to be.
        former: a former name of that class; "" for none.

    Raises:
        FastdiffError: for another class, and for weights that cannot be read.
    """
    if index.get(name) not in (["diffusers", kind], ["diffusers", former]):
        raise FastdiffError(f"{name}: {index.get(name)!r:.80} is not supported, expected a {kind}")
    place = component_dir(folder, name)
    check_weights(place)
    return opened(getattr(diffusers, kind), place)


def shape_of(module: ModelMixin) -> tuple[int, ...]:
    """Return the shape (C, H, W) of the samples that a network was trained on, by its sample_size."""
    size = module.config.sample_size
    if not isinstance(size, int | list | tuple):
        raise ValueError(
            f"sample_size: {size!r:.80} in its config.json, expected a number, or height and width"
        )
    sides = (size, size) if isinstance(size, int) else size
    return sized((module.config.in_channels, *sides))


def latents_and_text(
    folder: Path, index: dict[str, Any], units: tuple[str, ...] = ("scaling_factor",)
) -> dict[str, Any]:
    """Open a pipeline's autoencoder and text encoders, as the arguments `latent` and `text` of a Denoiser.

    Args:
        folder: the pipeline's folder.
        index: the contents of its model_index.json.
        units: the settings of the autoencoder that the pipeline decodes latents with.
    """
    return {"latent": plain_autoencoder(folder, units), "text": TextEncoder.open(folder, index)}


def plain_autoencoder(folder: Path, units: tuple[str, ...] = ("scaling_factor",)) -> Autoencoder:
    """Open a pipeline's autoencoder without the units that the pipeline ignores.

    Args:
        folder: the pipeline's folder.
        units: the settings of the autoencoder that the pipeline decodes latents with.
    """
    module = Autoencoder.open(folder).module
    ignored = [name for name in UNITS if name not in units and module.config.get(name) is not None]
    module.register_to_config(**dict.fromkeys(ignored))
    return Autoencoder.of(module)


def fitted(model: Denoiser) -> Denoiser:
    """Return the model after checking that its autoencoder and text encoders fit its network.

    A network with an attribute `pixels` gets the number of pixels per latent.

    Raises:
        FastdiffError: if the autoencoder has latents of another shape, or the text's embeddings have another
            width.
    """
    if model.text:
        check_widths(model.text.kind, model.text.parts, model.net.module.config)
    if model.latent:
        pixels = model.image_shape[1] // model.shape[1]
        if hasattr(model.net, "pixels"):
            model.net.pixels = pixels
    return model
