"""Models from disk and from the hub: exports, diffusers pipelines and EDM networks."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import torch
from torch import nn

from ..core.defaults import float32_on_cpu
from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.files import expanded, sha256, write_json
from ..core.network import Blueprint
from ..core.public_arguments import answers_foreign_words
from ..core.shipped import shipped
from ..networks import KINDS, MLP, folder_of
from ..networks.autoencoder import Autoencoder
from ..networks.own import opened_own
from ..networks.pretrained import (
    INDEX,
    PICKLED,
    WEIGHTS_DTYPE,
    check_weights,
    opened,
    pickled_file,
    weights_in,
)
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


DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "float16": torch.float16,
    "fp16": torch.float16,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
}


@answers_foreign_words
@float32_on_cpu()
def load(
    path: "str | Path | diffusers.DiffusionPipeline",
    device: torch.device | str = "cpu",
    dtype: torch.dtype | str = torch.float32,
) -> Denoiser:
    """Load a model from disk or from the Hugging Face hub, or take that of an open pipeline.

    Example:
        >>> model = fastdiff.load("checkpoints/digits/consistency")
        >>> images = fastdiff.sample(model, n=16, steps=2)  # (16, 1, 8, 8) in [-1, 1]
        >>> pipeline = DiffusionPipeline.from_pretrained("user/model")
        >>> teacher = fastdiff.load(pipeline, device="cuda", dtype=torch.bfloat16)

    Args:
        path: a stage of a run or another export; STAGE@STEP for a kept step of its training; the folder of a
            diffusers pipeline or of an EDM network (see io/formats/edm.py); an id on the hub, user/model or
            user/model@revision, whose JSON and safetensors files are downloaded into the hub's cache; or an
            open pipeline of diffusers, whose parts are copied by way of a temporary folder.
        device: device of the network; autoencoder and text encoders follow their inputs.
        dtype: floating-point type of the network's and the text encoders' weights: float32, float16 or
            bfloat16. Autoencoders stay in float32, as do samples between evaluations.

    Returns:
        A Denoiser in eval mode and frozen (no parameter requires a gradient). `model.sampling`
        records its default sampler, time grid and numbers of steps; `model.shape` is the shape of one sample.

    Raises:
        FastdiffError: in one line, if there is no such model, if its kind is not supported, if its weights
            are pickled, or if it is damaged.
    """
    if is_pipeline(path):
        return load_pipeline(path, device, dtype)
    if not isinstance(path, str | Path):
        raise FastdiffError(f"path = {path!r:.80}: expected a folder, a hub id or a pipeline of diffusers")
    kind = DTYPES.get(str(dtype).removeprefix("torch."))
    if kind is None:
        raise FastdiffError(f"dtype = {dtype}: expected float32, float16 or bfloat16")
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
        with weights_in(None if kind is torch.float32 else kind):
            model = load_foreign(folder) if notes is None else load_export(folder, parse_metadata(notes))
    except (OSError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise FastdiffError(
            f"{folder} is damaged ({reason}): copy it again, or delete it and run its stage again"
        ) from None
    return model.to(device, kind).eval().requires_grad_(False)


def is_pipeline(given: Any) -> bool:
    """Return whether a value is an open pipeline of diffusers, without importing diffusers' pipelines."""
    return hasattr(given, "components") and hasattr(given, "save_pretrained")


def load_pipeline(
    pipeline: "diffusers.DiffusionPipeline", device: torch.device | str, dtype: torch.dtype | str
) -> Denoiser:
    """Load the model of an open pipeline from a copy of its parts; see `load` for the arguments."""
    with TemporaryDirectory(prefix="fastdiff-") as folder:
        pipeline.save_pretrained(folder)
        try:
            return load(folder, device, dtype)
        except FastdiffError as error:
            raise FastdiffError(str(error).replace(folder, type(pipeline).__name__)) from None


def opened_model(given: Any) -> Denoiser:
    """Return the model of what a public function was given in the place of a Denoiser.

    Args:
        given: a path, a hub id or a pipeline.

    Raises:
        FastdiffError: for anything else, with the way to make a Denoiser of it.
    """
    if isinstance(given, str | Path) or is_pipeline(given):
        return load(given)
    if callable(given):
        raise FastdiffError(
            f"model: {type(given).__name__} is a bare network: wrap it with its schedule and prediction, "
            'such as fastdiff.Denoiser(net, fastdiff.SCHEDULES["cosine"](), "v", shape=(3, 32, 32))'
        )
    raise FastdiffError(f"model = {given!r:.80}: expected a Denoiser, a path, a hub id or a pipeline")


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
            load(folder / "base", dtype=WEIGHTS_DTYPE.get() or torch.float32) if metadata.base else None,
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
