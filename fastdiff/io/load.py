"""Models on disk: a plain diffusers folder with a fastdiff.json beside it."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import diffusers
import torch

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.files import sha256, write_json
from ..networks import KINDS, MLP
from ..networks.autoencoder import Autoencoder
from ..networks.pretrained import INDEX, PICKLED, check_weights, opened, pickled_file
from ..networks.text_encoder import TextEncoder
from . import hub
from .fingerprint import beside, fingerprint
from .formats import load_foreign
from .formats.components import fitted
from .metadata import ABOUT, About, about, read

# Modules of diffusers by the kind of network that stands around them.
MODULES = {
    "unet": "UNet2DModel",
    "text_unet": "UNet2DConditionModel",
    "dit": "DiTTransformer2DModel",
    "pixart": "PixArtTransformer2DModel",
    "sd3": "SD3Transformer2DModel",
    "flux": "FluxTransformer2DModel",
}


def load(path: str | Path, device: torch.device | str = "cpu") -> Denoiser:
    """A model from a run's export, a diffusers pipeline, a network of EDM (formats/edm.py) or a hub id, in float32.

    Of a hub id, user/model or user/model@revision, JSON and safetensors are fetched into the hub's cache.
    """
    folder = Path(path).expanduser()
    if folder.is_file():
        raise FastdiffError(
            pickled_file(folder)
            if folder.suffix in PICKLED
            else f"{path} is a file: a model is a run's stage, a diffusers folder or a hub id"
        )
    folder = hub.folder(str(path))
    notes = about(folder)
    try:
        model = load_foreign(folder) if notes is None else load_export(folder, read(notes))
    except (OSError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise FastdiffError(
            f"{folder} is damaged ({reason}): copy it again, or remove it and run its stage again"
        ) from None
    return model.float().eval().requires_grad_(False).to(device)


def load_export(folder: Path, notes: About) -> Denoiser:
    """A model that `export` wrote, its weights checked against their checksum."""
    kind = KINDS[notes.network]
    place = folder / kind.folder
    check_weights(place)
    weights, *more = [*place.glob("*.safetensors"), *place.glob(INDEX)] or [None]
    if more:  # the checksum is of one file
        raise FastdiffError(
            f"{folder} has {more[0].name} beside {weights.name}: expected one file, copy it again"
        )
    if weights is None or sha256(weights) != notes.weights:
        what = (
            "is missing its weights"
            if weights is None
            else f"has damaged weights ({weights.name}: wrong checksum)"
        )
        raise FastdiffError(f"{folder} {what}: copy it again, or remove it and run its stage again")
    if notes.base and fingerprint(folder / "base") != notes.base:
        raise FastdiffError(f"{folder / 'base'} is not the model that it stands on: copy it again, whole")
    found = beside(folder, notes.network) if notes.files else {}
    if damaged := [name for name, of in notes.files.items() if found.get(name) != of]:
        raise FastdiffError(
            f"{folder} is missing {damaged[0]}, or it is damaged (wrong checksum): copy it again"
        )
    guidance = notes.guidance.weights if notes.guidance else None
    module = opened(MLP if kind is MLP else getattr(diffusers, MODULES[notes.network]), place)
    return fitted(
        Denoiser(
            kind.of(module, notes.shape, bool(guidance)),
            notes.schedule,
            notes.predicts,
            notes.shape,
            notes.time_input,
            notes.sigma_data,
            notes.scale_input,
            notes.two_times,
            notes.how(),
            guidance,
            Autoencoder.open(folder) if notes.latent else None,
            notes.text and TextEncoder.open(folder, notes.text.index),
            load(folder / "base") if notes.base else None,
        )
    )


def record_times(path: str | Path, times: Iterable[float]) -> None:
    """Note in a model's fastdiff.json the grid found for a step count; those of other step counts stay."""
    folder = Path(path).expanduser()
    notes = about(folder)
    if notes is None:
        raise FastdiffError(f"{folder} has no {ABOUT} to note the times in: export the model first")
    write_json(folder / ABOUT, notes | {"sampling": asdict(read(notes).how().with_times(times))})
