"""What a recipe says a model is: network, schedule, parameterisation, and what stands beside the network."""

from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.prediction import ROWS, TIME_INPUTS
from ..core.schedule import SCHEDULES
from ..core.validation import Named, Strict, call, named
from ..data.registry import Readable
from ..io import hub
from ..io.formats.components import fitted
from ..networks import NETWORKS
from ..networks.autoencoder import Autoencoder
from ..networks.text_encoder import TextEncoder


class ModelSpec(Strict):
    """Network and schedule, each a name with options, and the parameterisation; labels: it takes classes.

    autoencoder, text: folders or hub ids of pipelines, of what encodes images into latents, and of what
    embeds captions.
    """

    net: Named
    autoencoder: str | None = None
    text: str | None = None
    schedule: Named = {"name": "cosine"}
    predicts: Literal[tuple(ROWS)] = "v"
    time_input: Literal[tuple(TIME_INPUTS)] = "timestep"
    sigma_data: float = Field(1.0, gt=0)
    scale_input: bool = False
    labels: bool = False

    def fresh(self, dataset: Readable, device: str) -> Denoiser:
        """A model for the data with newly drawn weights; on the device meta it has none."""
        latent, text = self.companions()
        if self.labels and not dataset.classes:
            raise FastdiffError(f"model.labels: the data set {dataset.name} has no labels")
        shape, classes = (
            latent.latent_shape(dataset.shape) if latent else dataset.shape,
            dataset.classes * self.labels,
        )
        name, options = named(self.net, "model.net")
        if bool(text) != ("text" in signature(NETWORKS[name]).parameters):
            told = "takes no text" if text else "is told of text: set model.text to what embeds it"
            raise FastdiffError(f"model.text: the network {name} {told}")
        if text and options.setdefault("text", text.width) != text.width:
            raise FastdiffError(
                f"model.net.text: {options['text']}, where model.text embeds in {text.width}: leave it out"
            )
        with torch.device(device):
            net = call(NETWORKS, name, options, "model.net", shape, classes)
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
        """The autoencoder and the text encoder, opened once."""
        return (
            self.autoencoder and opened(Autoencoder, "autoencoder", self.autoencoder),
            self.text and opened(TextEncoder, "text", self.text),
        )


def opened(kind: type, key: str, reference: str) -> Any:
    """An autoencoder or a text encoder of a folder or a hub id."""
    try:
        return once(kind, hub.folder(reference).resolve())
    except (FastdiffError, ValueError, OSError) as error:
        raise FastdiffError(f"model.{key}: {error}") from None


@cache
def once(kind: type, folder: Path) -> Any:
    """What a folder holds, one object for all models that it stands beside."""
    return kind.open(folder)
