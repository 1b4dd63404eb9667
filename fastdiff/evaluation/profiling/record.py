"""Rows of a stored model, each appended to OUT/speed.jsonl with what made it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from ...core.denoiser import Denoiser
from ...core.errors import FastdiffError
from ...core.files import identity
from ...io.load import about, load
from ..provenance import provenance
from ..rows import append_row


def record(
    path: str, measure: Callable[[Denoiser], Iterator[dict[str, Any]]], out: Path
) -> Iterator[dict[str, Any]]:
    """What is measured of a stored model, row by row."""
    model = load(path, "cuda" if torch.cuda.is_available() else "cpu")
    if model.text or model.condition_channels:
        raise FastdiffError(
            f"{path}: speed is measured of models without prompts and images, and this one is told of them"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FastdiffError(
            f"{out} cannot be written ({error.strerror}): choose another directory with --out"
        ) from None
    made = provenance(about(Path(path).expanduser()) or {}, Accelerator(cpu=model.device.type == "cpu"))
    for row in measure(model):
        row = {"model": path} | made | row
        append_row(out / "speed.jsonl", {"key": identity(**row), **row})
        yield row
