"""Models from disk and from the hub: exports, diffusers pipelines and EDM networks."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import diffusers
import torch
from torch import nn

from ..core.defaults import float32_on_cpu
from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.files import expanded, sha256, write_json
from ..core.network import Blueprint
from ..core.shipped import shipped
from ..networks import KINDS, MLP, folder_of
from ..networks.autoencoder import Autoencoder
from ..networks.own import opened_own
from ..networks.pretrained import INDEX, PICKLED, check_weights, opened, pickled_file
from ..networks.text_encoder import TextEncoder
from . import hub
from .fingerprint import component_hashes, fingerprint
from .formats.components import fitted
from .formats.reader import load_foreign
from .metadata import METADATA_FILE, ModelMetadata, parse_metadata, read_metadata
from .training_state import exported_state

# Kind of network -> the class of diffusers that it wraps.
MODULES = {
    "unet": "UNet2DModel",
    "text_unet": "UNet2DConditionModel",
    "dit": "DiTTransformer2DModel",
    "pixart": "PixArtTransformer2DModel",
    "sd3": "SD3Transformer2DModel",
    "flux": "FluxTransformer2DModel",
}


@float32_on_cpu()
def load(path: str | Path, device: torch.device | str = "cpu") -> Denoiser:
    """Load a model from disk or from the Hugging Face hub.

    Example:
        >>> model = fastdiff.load("checkpoints/digits/consistency")
        >>> images = fastdiff.sample(model, n=16, steps=2)  # (16, 1, 8, 8) in [-1, 1]

    Args:
        path: a stage of a run or another export; STAGE@STEP for a kept step of its training; the folder of a
            diffusers pipeline or of an EDM network (see io/formats/edm.py); or an id on the
            hub, user/model or user/model@revision, whose JSON and safetensors files are downloaded into the
            hub's cache.
        device: device of the network.

    Returns:
        A Denoiser in float32, in eval mode and frozen (no parameter requires a gradient). `model.sampling`
        records its default sampler, time grid and numbers of steps; `model.shape` is the shape of one sample.

    Raises:
        FastdiffError: in one line, if there is no such model, if its kind is not supported, if its weights
            are pickled, or if it is damaged.
    """
    path = model_folder(path)
    folder = expanded(path)
    if folder.is_file():
        raise FastdiffError(
            pickled_file(folder)
            if folder.suffix in PICKLED
            else f"{path} is a file: expected a run's stage, a diffusers folder or a hub id"
        )
    folder = hub.folder(str(path))
    notes = read_metadata(folder)
    try:
        model = load_foreign(folder) if notes is None else load_export(folder, parse_metadata(notes))
    except (OSError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise FastdiffError(
            f"{folder} is damaged ({reason}): copy it again, or delete it and run its stage again"
        ) from None
    return model.float().eval().requires_grad_(False).to(device)


def model_folder(path: str | Path) -> str | Path:
    """Return the folder of a model, for a path that is not a folder itself.

    Args:
        path: STAGE@STEP, whose state is exported if it is not yet; or the path of a shipped model, which is
            found from any working directory. Any other path and a hub id are returned unchanged.
    """
    found = exported_state(path, load)
    return shipped(found) or found


def load_export(folder: Path, metadata: ModelMetadata) -> Denoiser:
    """Load a model that `export` wrote, and verify its checksums.

    Args:
        folder: the model's folder.
        metadata: the contents of its fastdiff.json.

    Raises:
        FastdiffError: if a file is missing or has another checksum than recorded.
    """
    check_network(folder, metadata)
    check_parts(folder, metadata)
    guidance = metadata.guidance.weights if metadata.guidance else None
    return fitted(
        Denoiser(
            load_network(folder, metadata),
            metadata.schedule,
            metadata.predicts,
            metadata.shape,
            metadata.time_input,
            metadata.sigma_data,
            metadata.scale_input,
            metadata.two_times,
            metadata.recorded_sampling(),
            guidance,
            Autoencoder.open(folder) if metadata.latent else None,
            TextEncoder.open(folder, metadata.text.index) if metadata.text else None,
            load(folder / "base") if metadata.base else None,
        )
    )


def load_network(folder: Path, metadata: ModelMetadata) -> nn.Module:
    """Load the network of an export, from diffusers' format or as its plugin builds it."""
    place = folder / folder_of(metadata.network)
    if metadata.network not in KINDS:
        blueprint = Blueprint(metadata.network, **dict(metadata.built_with))
        return opened_own(blueprint, metadata.shape, place)
    kind = KINDS[metadata.network]
    module_class = MLP if kind is MLP else getattr(diffusers, MODULES[metadata.network])
    return kind.of(opened(module_class, place), metadata.shape, bool(metadata.guidance))


def check_network(folder: Path, metadata: ModelMetadata) -> None:
    """Raise FastdiffError unless an export has exactly one file of weights, with the recorded checksum."""
    place = folder / folder_of(metadata.network)
    check_weights(place)
    files = [*place.glob("*.safetensors"), *place.glob(INDEX)]
    if not files:
        raise FastdiffError(
            f"{folder} is missing its weights: copy it again, or delete it and run its stage again"
        )
    if len(files) > 1:  # the checksum covers one file
        raise FastdiffError(
            f"{folder} has both {files[0].name} and {files[1].name}: expected one file; copy it again"
        )
    if sha256(files[0]) != metadata.weights:
        raise FastdiffError(
            f"{folder} has damaged weights ({files[0].name}: wrong checksum): copy it again, or delete it "
            "and run its stage again"
        )


def check_parts(folder: Path, metadata: ModelMetadata) -> None:
    """Raise FastdiffError if a base, autoencoder or text encoder has another checksum than recorded."""
    if metadata.base and fingerprint(folder / "base") != metadata.base:
        raise FastdiffError(
            f"{folder / 'base'} is not the base model that {folder} was exported with: copy all of it again"
        )
    if not metadata.files:
        return
    present = component_hashes(folder, metadata.network)
    if damaged := [name for name, noted in metadata.files.items() if present.get(name) != noted]:
        raise FastdiffError(
            f"{folder} is missing {damaged[0]}, or it is damaged (wrong checksum): copy it again"
        )


def record_times(path: str | Path, times: Iterable[float]) -> None:
    """Write a time grid into a model's fastdiff.json; grids for other numbers of steps stay.

    Args:
        path: the model's folder.
        times: decreasing times on the model's schedule; the last 0 may be left out.

    Raises:
        FastdiffError: if the folder has no fastdiff.json, or a damaged one.
    """
    folder = expanded(path)
    notes = read_metadata(folder)
    if notes is None:
        raise FastdiffError(f"{folder}: no {METADATA_FILE} to store the times in; export the model first")
    sampling = parse_metadata(notes).recorded_sampling().with_times(times)
    write_json(folder / METADATA_FILE, {**notes, "sampling": asdict(sampling)})
