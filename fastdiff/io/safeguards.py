"""Safety checkers and watermarkers of pipelines: students do not inherit them, and their cards say so."""

from collections.abc import Iterable
from pathlib import Path

from ..core.errors import FastdiffError
from ..core.files import expanded, read_object
from .diffusers_names import INDEX_FILE
from .metadata import read_metadata

CHECKER = "safety_checker"
WATERMARKER = "watermarker"
# Pipelines that watermark their images, where the package invisible-watermark is installed.
WATERMARKING = {"StableDiffusionXLPipeline": "StableDiffusionXLWatermarker"}


def safeguards(places: Iterable[str | Path]) -> dict[str, str]:
    """Return the safeguards of the models that a student was made from, as its fastdiff.json records them.

    Args:
        places: folders or hub ids of the models.

    Returns:
        Class by part, such as {"safety_checker": "StableDiffusionSafetyChecker"}; {} where there are none.
    """
    found: dict[str, str] = {}
    for place in places:
        found |= of_model(place)
    return found


def of_model(place: str | Path) -> dict[str, str]:
    """Return the safeguards of one model: those of its pipeline, or those that its own teachers had."""
    try:
        folder = local_folder(str(place))
        notes = read_metadata(folder)
        if notes is not None:
            return dict(notes.get("safeguards", {}))
        index = read_object(folder / INDEX_FILE)
    except (FastdiffError, OSError, ValueError):  # loading the model says what is wrong with it
        return {}
    found = {}
    checker = index.get(CHECKER)
    if isinstance(checker, list) and isinstance(checker[-1], str):
        found[CHECKER] = checker[-1]
    if marker := WATERMARKING.get(str(index.get("_class_name"))):
        found[WATERMARKER] = marker
    return found


def local_folder(place: str) -> Path:
    """Return the folder of a model, for a hub id the one in the cache, where loading has put it."""
    from huggingface_hub import try_to_load_from_cache

    from . import hub  # imports torch, which a report does not need

    if not hub.is_id(place):
        return expanded(place)
    name, _, revision = place.partition("@")
    found = try_to_load_from_cache(name, INDEX_FILE, revision=revision or None)
    return Path(found).parent if isinstance(found, str) else expanded(place)


def described(found: dict[str, str]) -> list[str]:
    """Return one line per safeguard that a model lacks, for its card."""
    lines = []
    if CHECKER in found:
        lines.append(
            f"The teacher's pipeline checks its images with `{found[CHECKER]}`, which this folder does not "
            "hold: images of this model are not checked. Load the checker from the teacher, and give it to "
            "`from_pretrained` as `safety_checker`, with its `feature_extractor`."
        )
    if WATERMARKER in found:
        lines.append(
            f"The teacher's pipeline marks its images with `{found[WATERMARKER]}` where the package "
            "invisible-watermark is installed. fastdiff and the script above do not; leave "
            "`add_watermarker=False` out to mark them."
        )
    return lines
