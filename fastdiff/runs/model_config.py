"""The model of a recipe: network, schedule, parameterization, and encoders of images and prompts."""

from functools import cache
from inspect import signature
from pathlib import Path
from typing import Literal, TypeVar

import torch
from pydantic import Field

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.network import Blueprint
from ..core.prediction import PREDICTION_TYPES, TIME_INPUTS
from ..core.schedule import SCHEDULES
from ..core.validation import Named, Strict, call, named
from ..data.registry import Readable
from ..io import hub
from ..io.formats.components import fitted
from ..io.load import model_folder
from ..networks import NETWORKS
from ..networks.autoencoder import Autoencoder
from ..networks.own import built
from ..networks.text_encoder import TextEncoder

Companion = TypeVar("Companion", Autoencoder, TextEncoder)


class ModelSpec(Strict):
    """The settings of a new model.

    Args:
        net: the network, a key of NETWORKS with its options.
        autoencoder: folder or hub id of a pipeline whose autoencoder encodes images into latents; None for a
            model of pixels.
        text: folder or hub id of a pipeline whose text encoder embeds captions; None for a model without
            prompts.
        schedule: the noise schedule, a key of SCHEDULES with its options.
        predicts: the quantity that the network predicts.
        time_input: the form in which the network takes the time, a key of TIME_INPUTS.
        sigma_data: standard deviation of the data, above 0.
        scale_input: whether x is scaled to unit variance before the network.
        labels: whether the network takes the classes of the data.
    """

    net: Named
    autoencoder: str | None = None
    text: str | None = None
    schedule: Named = {"name": "cosine"}
    predicts: Literal[tuple(PREDICTION_TYPES)] = "v"
    time_input: Literal[tuple(TIME_INPUTS)] = "timestep"
    sigma_data: float = Field(1.0, gt=0)
    scale_input: bool = False
    labels: bool = False

    def fresh(self, dataset: Readable, device: str) -> Denoiser:
        """Return a model for a data set, with random weights.

        Args:
            dataset: the data, which determine the shape and the number of classes.
            device: device of the network; on "meta" it has no weights.

        Raises:
            FastdiffError: for a network that does not fit the data or the text encoder.
        """
        latent, text = self.companions()
        if self.labels and not dataset.classes:
            raise FastdiffError(f"model.labels: the data set {dataset.name} has no labels; leave labels out")
        shape = latent.latent_shape(dataset.shape) if latent else dataset.shape
        classes = dataset.classes if self.labels else 0
        name, options = named(self.net, "model.net")
        takes_text = "text" in signature(NETWORKS[name]).parameters
        if text and not takes_text:
            raise FastdiffError(f"model.text: the network {name} does not take text; leave text out")
        if takes_text and not text:
            raise FastdiffError(
                f"model.text is missing: the network {name} takes text; name a pipeline with a text encoder"
            )
        if text and options.setdefault("text", text.width) != text.width:
            raise FastdiffError(
                f"model.net.text = {options['text']}: expected {text.width}, as model.text has; leave it out"
            )
        with torch.device(device):
            net = built(Blueprint(name, options, classes), shape, "model.net")
        schedule = call(SCHEDULES, *named(self.schedule, "model.schedule"), "model.schedule")
        return fitted(
            Denoiser(
                net,
                schedule,
                self.predicts,
                shape,
                self.time_input,
                self.sigma_data,
                self.scale_input,
                latent=latent,
                text=text,
            )
        )

    def companions(self) -> tuple[Autoencoder | None, TextEncoder | None]:
        """Return the autoencoder and the text encoder, each None if not set; all models share one object."""
        latent = opened(Autoencoder, "autoencoder", self.autoencoder) if self.autoencoder else None
        text = opened(TextEncoder, "text", self.text) if self.text else None
        return latent, text


def opened(kind: type[Companion], key: str, reference: str) -> Companion:
    """Open the autoencoder or the text encoder of a pipeline.

    Args:
        kind: Autoencoder or TextEncoder.
        key: name of the setting, for errors.
        reference: folder or hub id of the pipeline.
    """
    try:
        return opened_folder(kind, hub.folder(str(model_folder(reference))).resolve())
    except (FastdiffError, ValueError, OSError) as error:
        raise FastdiffError(f"model.{key}: {error}") from None


@cache
def opened_folder(kind: type[Companion], folder: Path) -> Companion:
    """Open a component from its folder; repeated calls return the same object."""
    return kind.open(folder)
