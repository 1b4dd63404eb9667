"""The pictures and files that are kept of a benchmark's cells."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.denoiser import Denoiser
from ..data.image_grid import hstack, picture, save
from ..data.registry import Dataset
from ..samplers.generate import generate
from ..samplers.plan import SamplingPlan
from .conditions import asked
from .reference import store

COLUMNS = 16  # of a sheet of samples
SHEET = 64  # samples on a cell's sheet, of its first seed
POINTS = 1000  # points in the plane on a cell's sheet
FOLLOWED = 8  # samples whose way from noise is kept
STATES = 10  # pictures on that way


def sheet_size(dataset: Dataset, n: int) -> int:
    """Return how many of n samples are on a cell's sheet."""
    return min(POINTS if len(dataset.shape) == 1 else SHEET, n)


def keep(
    model: Denoiser,
    way: SamplingPlan,
    dataset: Dataset,
    n: int,
    guidance: float,
    out: Path,
    cell: str,
    first: Tensor | None = None,
) -> None:
    """Save a sheet of a cell's samples, and the clean predictions of a few on their way from noise.

    Both start from the noise of seed 0 in every cell.

    Args:
        model: the model.
        way: how it is sampled.
        dataset: the data, for the samples' conditions.
        n: samples of the cell.
        guidance: weight of guidance.
        out: folder of the sweep.
        cell: the cell's name.
        first: the sheet's samples, if seed 0 was measured.
    """
    states: list[Tensor] = []

    def drawn(count: int, **options: Any) -> Tensor:
        indices = torch.arange(count)
        cond = asked(model, dataset, count)
        [made] = generate(model, way, indices, seed=0, guidance=guidance, batch=count, cond=cond, **options)
        return made.x

    first = drawn(sheet_size(dataset, n)) if first is None else first
    followed = len(first) if len(dataset.shape) == 1 else min(FOLLOWED, len(first))
    last = drawn(followed, watch=lambda _, state: states.append(state.x0.cpu()))
    save(picture(first, columns=COLUMNS), out / "samples" / f"{cell}.png")
    if way_down := chosen(states, STATES - 1):  # there is none in one step
        images = [*(model.decoded(x.to(last)) for x in way_down), last]
        save(hstack([picture(x, columns=1) for x in images]), out / "trajectory" / f"{cell}.png")


def chosen(states: list[Tensor], count: int) -> list[Tensor]:
    """Return at most `count` states, evenly from the first; not the last, whose prediction is the sample."""
    before = states[:-1]
    places = torch.linspace(0, len(before) - 1, min(count, len(before))).round().long()
    return [before[place] for place in places]


def keep_real(dataset: Dataset, out: Path) -> None:
    """Save the sheet of real data, with which the sheets of samples are compared."""
    some = dataset.get(torch.arange(sheet_size(dataset, len(dataset))))[0]
    save(picture(some, columns=COLUMNS), out / "samples" / "real.png")


def keep_terms(terms: dict[str, Tensor], out: Path, key: str) -> None:
    """Save each sample's part in the kernel distances, for paired comparisons of cells."""
    if terms:
        store(out / "influence" / f"{key}.safetensors", terms)
