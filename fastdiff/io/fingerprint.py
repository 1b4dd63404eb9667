"""Fingerprints of models: hashes by which two sets of weights differ."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ..core.files import sha256
from ..networks import KINDS
from . import hub
from .formats.edm import EDM_FILE
from .metadata import read_metadata

# The files of a folder that is no export which make up its model: all but those at the top that list parts.
MODEL_FILES = ("*/*.safetensors", "*/*.json", "*.safetensors", "config.json", EDM_FILE)


def fingerprint(path: str | Path) -> str:
    """Return a text that identifies a model.

    Args:
        path: a model's folder, or its id on the hub.

    Returns:
        SHA-256 in hex of its weights, and of a plain diffusers folder's settings too; id@commit of a model on
        the hub; of anything else the path itself.

    Raises:
        FastdiffError: if its fastdiff.json is damaged, or the hub does not know the id.
    """
    folder = Path(path).expanduser()
    notes = read_metadata(folder)
    if notes:
        text = (notes.get("text") or {}).get("weights")
        parts = [notes["weights"], *filter(None, (notes.get("latent"), text, notes.get("base")))]
        return parts[0] if len(parts) == 1 else hash_of(parts)
    files = sorted(file for pattern in MODEL_FILES for file in folder.glob(pattern))
    if files:
        return hash_of(map(sha256, files))
    return hub.pinned(str(path)) if hub.is_id(str(path)) else str(path)


def hash_of(hashes: Iterable[str]) -> str:
    """Return SHA-256 in hex of several hashes, one after the other."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def component_hashes(folder: Path, kind: str) -> dict[str, str]:
    """Return SHA-256 of the weights next to a network, such as an autoencoder's.

    Args:
        folder: the model's folder.
        kind: of its network, a key of KINDS.

    Returns:
        The hashes by the files' places in the folder; an adapter and a base are left out.
    """
    left_out = (KINDS[kind].folder, "lora", "base")
    paths = [path for path in sorted(folder.glob("*/*.safetensors")) if path.parent.name not in left_out]
    return {f"{path.parent.name}/{path.name}": sha256(path) for path in paths}
