"""Rows of a stored model's speed, appended to speed.jsonl with their provenance."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...core.accelerator import make_accelerator
from ...core.denoiser import Denoiser
from ...core.errors import FastdiffError
from ...core.files import expanded, identity, make_directory
from ...io.load import load, read_metadata
from ..provenance import provenance
from ..rows import append_row


def record(
    path: str, measure: Callable[[Denoiser], Iterator[dict[str, Any]]], out: Path
) -> Iterator[dict[str, Any]]:
    """Measure a stored model, and append and yield its rows.

    Args:
        path: folder of the model.
        measure: function that yields the rows of a model.
        out: folder of speed.jsonl.

    Raises:
        FastdiffError: if the model takes prompts or images, or the folder cannot be written.
    """
    accelerator = make_accelerator()
    model = load(path, accelerator.device)
    if model.text or model.condition_channels:
        raise FastdiffError(
            f"{path}: expected a model without prompts and image conditions; others are not measured"
        )
    make_directory(out)
    origin = provenance(read_metadata(expanded(path)) or {}, accelerator)
    for measured in measure(model):
        row = {"model": path, **origin, **measured}
        append_row(out / "speed.jsonl", {"key": identity(**row), **row})
        yield row
