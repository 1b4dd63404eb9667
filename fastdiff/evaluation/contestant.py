"""A model in a benchmark: loaded once, with its metadata for rows."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..core.denoiser import Denoiser
from ..core.files import expanded
from ..io.fingerprint import fingerprint
from ..io.load import load, model_folder, read_metadata


@dataclass(frozen=True)
class Contestant:
    """A model in a benchmark.

    Args:
        name: name of the model in rows.
        path: folder of the model.
        model: the loaded model.
        notes: metadata of the model, as in fastdiff.json.
    """

    name: str
    path: str | Path
    model: Denoiser
    notes: dict[str, Any]

    @classmethod
    def open(cls, name: str, path: str | Path, device: torch.device) -> "Contestant":
        """Load a stored model."""
        path = model_folder(path)
        return cls(name, path, load(path, device), read_metadata(expanded(path)) or {})

    @cached_property
    def weights(self) -> str:
        """The fingerprint of the model's weights; for a plain diffusers folder, a hash of all its files."""
        return fingerprint(self.path)
