"""The reader of models that other programs have saved: pipelines of diffusers, and EDM networks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ...core.denoiser import Denoiser
from ...core.errors import FastdiffError, first_line
from ...core.files import read_object
from ...networks.pretrained import UnreadWeights
from ..diffusers_names import INDEX_FILE
from ..metadata import METADATA_FILE
from . import text_to_image, unconditional
from .edm import EDM_FILE, load_edm

# _class_name in model_index.json -> function of the pipeline's folder and the contents of that file.
READERS: dict[str, Callable[[Path, dict[str, Any]], Denoiser]] = {
    "DDPMPipeline": unconditional.unet,
    "DDIMPipeline": unconditional.unet,
    "PNDMPipeline": unconditional.unet,
    "LDMPipeline": unconditional.unet,
    "DiTPipeline": unconditional.dit,
    "ConsistencyModelPipeline": unconditional.consistency,
    "StableDiffusionPipeline": text_to_image.stable_diffusion,
    "StableDiffusionXLPipeline": text_to_image.stable_diffusion,
    "LatentConsistencyModelPipeline": text_to_image.stable_diffusion,
    "PixArtAlphaPipeline": text_to_image.pixart,
    "PixArtSigmaPipeline": text_to_image.pixart,
    "StableDiffusion3Pipeline": text_to_image.sd3,
    "FluxPipeline": text_to_image.flux,
}


def load_foreign(folder: Path) -> Denoiser:
    """Load the model in a folder that fastdiff did not write.

    Args:
        folder: the folder of a pipeline, with a model_index.json, or a folder with an edm.json.

    Raises:
        FastdiffError: in one line, if its kind is not supported, or if it is damaged.
    """
    known = next((name for name in (INDEX_FILE, EDM_FILE) if (folder / name).is_file()), None)
    if known is None:
        raise FastdiffError(
            f"{folder} is not a model: expected {METADATA_FILE} or {INDEX_FILE} in it; name a stage of a run"
        )
    try:
        return load_edm(folder) if known == EDM_FILE else load_pipeline(folder)
    except UnreadWeights:
        raise
    except (FastdiffError, OSError, ValueError, TypeError, ArithmeticError, SafetensorError) as error:
        kind = "a diffusers model" if known == INDEX_FILE else "an EDM network"
        raise FastdiffError(f"{folder}: cannot be loaded as {kind} ({first_line(error)})") from None


def load_pipeline(folder: Path) -> Denoiser:
    """Load the model in the folder of a pipeline."""
    index = read_object(folder / INDEX_FILE)
    kind = index.get("_class_name")
    if not isinstance(kind, str) or kind not in READERS:
        raise FastdiffError(f"this {kind!r:.80} is not supported, expected one of {', '.join(READERS)}")
    return READERS[kind](folder, index)
