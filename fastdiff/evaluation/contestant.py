"""A model in a benchmark: loaded once, with what rows say of it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..core.denoiser import Denoiser
from ..io.fingerprint import fingerprint
from ..io.load import load, read_metadata


@dataclass(frozen=True)
class Contestant:
    """A model in a benchmark.

    Args:
        name: the model's name in rows.
        path: where it is stored.
        model: the model, loaded.
        notes: its metadata, as in fastdiff.json.
    """

    name: str
    path: str | Path
    model: Denoiser
    notes: dict[str, Any]

    @classmethod
    def open(cls, name: str, path: str | Path, device: torch.device) -> "Contestant":
        """Load a stored model."""
        return cls(name, path, load(path, device), read_metadata(Path(path).expanduser()) or {})

    @cached_property
    def weights(self) -> str:
        """The fingerprint of its weights: of a plain diffusers folder all its files are hashed."""
        return fingerprint(self.path)
