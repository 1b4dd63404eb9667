"""Fingerprints of models: what tells two sets of weights apart."""

import hashlib
from pathlib import Path

from ..core.files import sha256
from ..networks import KINDS
from . import hub
from .formats import EDM
from .metadata import about


def beside(folder: Path, kind: str) -> dict[str, str]:
    """SHA-256 of the weights that stand beside a network of a kind, by their places in its folder."""
    others = (KINDS[kind].folder, "lora", "base")
    return {
        f"{path.parent.name}/{path.name}": sha256(path)
        for path in sorted(folder.glob("*/*.safetensors"))
        if path.parent.name not in others
    }


# What a model is, of the files of others: all but those at the top that only list the parts.
PARTS = ("*/*.safetensors", "*/*.json", "*.safetensors", "config.json", EDM)


def fingerprint(path: str | Path) -> str:
    """What identifies a model: SHA-256 of its weights, and of a plain folder's settings; id@commit of one on the hub."""
    folder = Path(path).expanduser()
    if notes := about(folder):
        parts = [
            notes["weights"],
            *filter(None, (notes.get("latent"), (notes.get("text") or {}).get("weights"), notes.get("base"))),
        ]
        return parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()
    files = sorted(file for pattern in PARTS for file in folder.glob(pattern))
    if not files and hub.is_id(str(path)):
        return hub.pinned(str(path))
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest() if files else str(path)
