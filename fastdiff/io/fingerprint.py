"""Fingerprints of models: hashes that tell two sets of weights apart."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..core.files import expanded, identity, sha256
from ..networks import folder_of
from . import hub
from .formats.edm import EDM_FILE
from .metadata import read_metadata

SETTINGS = (  # keys of fastdiff.json that change a model's samples, besides the weights
    "network",
    "schedule",
    "predicts",
    "shape",
    "time_input",
    "sigma_data",
    "scale_input",
    "two_times",
)
NAMED_IN_ROWS = ("sampler", "spacing", "steps", "only", "times")  # keys of the default sampling
# The files that determine the model in a folder that is not an export; index files are left out.
MODEL_FILES = ("*/*.safetensors", "*/*.json", "*.safetensors", "config.json", EDM_FILE)


def fingerprint(path: str | Path) -> str:
    """Return a text that identifies a model.

    Args:
        path: a model's folder, or its id on the hub.

    Returns:
        For a folder, the SHA-256 of its weights in hex, and of its settings as well for a plain diffusers
        folder and for an export whose settings are not those that it was written with; for a model on the
        hub, id@commit; for anything else, the path itself.

    Raises:
        FastdiffError: if the folder's fastdiff.json is damaged, or the hub does not know the id.
    """
    folder = expanded(path)
    notes = read_metadata(folder)
    if notes:
        text = (notes.get("text") or {}).get("weights")
        parts = [notes["weights"], *filter(None, (notes.get("latent"), text, notes.get("base")))]
        written = notes.get("settings")  # absent in older files
        if written and written != (present := settings_digest(folder, notes)):
            parts.append(present)
        return parts[0] if len(parts) == 1 else hash_of(parts)
    files = sorted(file for pattern in MODEL_FILES for file in folder.glob(pattern))
    if files:
        return hash_of(map(sha256, files))
    return hub.pinned(str(path)) if hub.is_id(str(path)) else str(path)


def settings_digest(folder: Path, notes: Mapping[str, Any]) -> str:
    """Return the identity of an export's settings that change its samples.

    The default sampler and grids are left out, since a row of a benchmark names its own.

    Args:
        folder: the export's folder, with the config.json of its components.
        notes: the contents of its fastdiff.json.
    """
    files = sorted(path for path in folder.glob("*/*.json") if path.parent.name not in ("scheduler", "lora"))
    configs = {f"{path.parent.name}/{path.name}": sha256(path) for path in files}
    settings = {name: notes.get(name) for name in SETTINGS}
    settings["guidance"] = (notes.get("guidance") or {}).get("weights")
    sampling = notes.get("sampling") or {}
    settings["sampling"] = {key: value for key, value in sampling.items() if key not in NAMED_IN_ROWS}
    if built := notes.get("built_with"):  # only of networks of plugins
        settings["built_with"] = built
    return identity(**settings, configs=configs)


def hash_of(hashes: Iterable[str]) -> str:
    """Return the SHA-256 of several concatenated hashes, in hex."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def component_hashes(folder: Path, kind: str) -> dict[str, str]:
    """Return the SHA-256 of the weights of a model's other components, such as its autoencoder.

    Args:
        folder: the model's folder.
        kind: name of the model's network in fastdiff.json.

    Returns:
        The hashes in hex, by the files' paths in the folder; an adapter and a base are left out.
    """
    left_out = (folder_of(kind), "lora", "base")
    paths = [path for path in sorted(folder.glob("*/*.safetensors")) if path.parent.name not in left_out]
    return {f"{path.parent.name}/{path.name}": sha256(path) for path in paths}
