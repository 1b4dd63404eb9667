"""Models that others have saved: pipelines of diffusers, by the _class_name of their model_index.json."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..about import ABOUT
from ..denoiser import Denoiser
from ..errors import FastdiffError
from ..files import read_object
from ..images import first_line
from ..pipelines import INDEX
from ..weights import UnreadWeights
from . import plain, prompted

# What opens a pipeline: (its folder, what its model_index.json says) -> model.
READERS: dict[str, Callable[[Path, dict[str, Any]], Denoiser]] = {
    "DDPMPipeline": plain.unconditional, "DDIMPipeline": plain.unconditional, "PNDMPipeline": plain.unconditional,
    "LDMPipeline": plain.unconditional, "DiTPipeline": plain.dit, "ConsistencyModelPipeline": plain.consistency,
    "StableDiffusionPipeline": prompted.stable_diffusion, "StableDiffusionXLPipeline": prompted.stable_diffusion,
    "LatentConsistencyModelPipeline": prompted.stable_diffusion,
    "PixArtAlphaPipeline": prompted.pixart, "PixArtSigmaPipeline": prompted.pixart,
    "StableDiffusion3Pipeline": prompted.sd3, "FluxPipeline": prompted.flux,
}


def load_diffusers(folder: Path) -> Denoiser:
    """The model of a pipeline's folder; FastdiffError, of one line, where its kind is unknown or it is damaged."""
    if not (folder / INDEX).is_file():
        raise FastdiffError(f"{folder} is no model: expected {ABOUT} or {INDEX} in it; name a stage of a run")
    try:
        index = read_object(folder / INDEX)
        kind = index.get("_class_name")
        if not isinstance(kind, str) or kind not in READERS:
            raise FastdiffError(f"this {kind!r:.80} is not supported, only {', '.join(READERS)}")
        return READERS[kind](folder, index)
    except UnreadWeights:
        raise
    except (FastdiffError, OSError, ValueError, TypeError) as error:
        raise FastdiffError(f"{folder}: cannot be loaded as a diffusers model ({first_line(error)})") from None
