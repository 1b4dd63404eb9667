"""Models that others have saved: pipelines of diffusers by the _class_name in model_index.json, and networks of EDM."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ...core.denoiser import Denoiser
from ...core.errors import FastdiffError, first_line
from ...core.files import read_object
from ...networks.pretrained import UnreadWeights
from ..diffusers_names import INDEX
from ..metadata import ABOUT
from . import text_to_image as prompted
from . import unconditional as plain
from .edm import EDM, load_edm

# What opens a pipeline: (its folder, what its model_index.json says) -> model.
READERS: dict[str, Callable[[Path, dict[str, Any]], Denoiser]] = {
    "DDPMPipeline": plain.unconditional,
    "DDIMPipeline": plain.unconditional,
    "PNDMPipeline": plain.unconditional,
    "LDMPipeline": plain.unconditional,
    "DiTPipeline": plain.dit,
    "ConsistencyModelPipeline": plain.consistency,
    "StableDiffusionPipeline": prompted.stable_diffusion,
    "StableDiffusionXLPipeline": prompted.stable_diffusion,
    "LatentConsistencyModelPipeline": prompted.stable_diffusion,
    "PixArtAlphaPipeline": prompted.pixart,
    "PixArtSigmaPipeline": prompted.pixart,
    "StableDiffusion3Pipeline": prompted.sd3,
    "FluxPipeline": prompted.flux,
}


def load_foreign(folder: Path) -> Denoiser:
    """The model of a folder that is no export; FastdiffError, of one line, where its kind is unknown or it is damaged."""
    known = next((name for name in (INDEX, EDM) if (folder / name).is_file()), None)
    if known is None:
        raise FastdiffError(f"{folder} is no model: expected {ABOUT} or {INDEX} in it; name a stage of a run")
    try:
        return load_edm(folder) if known == EDM else load_pipeline(folder)
    except UnreadWeights:
        raise
    except (FastdiffError, OSError, ValueError, TypeError, SafetensorError) as error:
        kind = "a diffusers model" if known == INDEX else "a network of EDM"
        raise FastdiffError(f"{folder}: cannot be loaded as {kind} ({first_line(error)})") from None


def load_pipeline(folder: Path) -> Denoiser:
    """The model of a pipeline's folder."""
    index = read_object(folder / INDEX)
    kind = index.get("_class_name")
    if not isinstance(kind, str) or kind not in READERS:
        raise FastdiffError(f"this {kind!r:.80} is not supported, only {', '.join(READERS)}")
    return READERS[kind](folder, index)
