"""The pictures and terms that a benchmark saves for each of its cells."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.denoiser import Denoiser
from ..data.image_grid import hstack, picture, save
from ..data.registry import Dataset
from ..samplers.generate import generate
from ..samplers.plan import SamplingPlan
from .conditions import dataset_conditions
from .reference import store

SHEET_COLUMNS = 16  # samples in a row of a sheet
SHEET_SAMPLES = 64  # samples on a cell's sheet
SHEET_POINTS = 1000  # vectors on a cell's sheet, a scatter plot
TRAJECTORY_SAMPLES = 8  # samples in the picture of trajectories
TRAJECTORY_STATES = 10  # columns of the picture of trajectories


def sheet_size(dataset: Dataset, n: int) -> int:
    """Return the number of samples, of n, on a cell's sheet."""
    return min(SHEET_POINTS if len(dataset.shape) == 1 else SHEET_SAMPLES, n)


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
    """Save a sheet of a cell's samples, and the trajectories of a few: the predicted x0 at each step.

    Both start from the noise of seed 0 in every cell.

    Args:
        model: model to sample.
        way: sampler, time grid and options.
        dataset: data set whose labels, captions or images are the samples' conditions.
        n: number of samples of the cell.
        guidance: guidance weight, 1 for no guidance.
        out: folder of the sweep.
        cell: name of the cell.
        first: samples (k, *shape) of the sheet, if seed 0 was measured; None to draw them.
    """
    states: list[Tensor] = []

    def drawn(count: int, **options: Any) -> Tensor:
        indices = torch.arange(count)
        cond = dataset_conditions(model, dataset, count)
        [made] = generate(model, way, indices, seed=0, guidance=guidance, batch=count, cond=cond, **options)
        return made.x

    first = drawn(sheet_size(dataset, n)) if first is None else first
    followed = len(first) if len(dataset.shape) == 1 else min(TRAJECTORY_SAMPLES, len(first))
    last = drawn(followed, watch=lambda _, state: states.append(state.x0.cpu()))
    save(picture(first, columns=SHEET_COLUMNS), out / "samples" / f"{cell}.png")
    if way_down := chosen(states, TRAJECTORY_STATES - 1):  # one step has no trajectory
        images = [*(model.decoded(x.to(last)) for x in way_down), last]
        save(hstack([picture(x, columns=1) for x in images]), out / "trajectory" / f"{cell}.png")


def chosen(states: list[Tensor], count: int) -> list[Tensor]:
    """Return at most `count` evenly spaced states, without the last, whose prediction is the sample."""
    before = states[:-1]
    places = torch.linspace(0, len(before) - 1, min(count, len(before))).round().long()
    return [before[place] for place in places]


def keep_real(dataset: Dataset, out: Path) -> None:
    """Save a sheet of real data, for comparison with the sheets of samples."""
    some = dataset.get(torch.arange(sheet_size(dataset, len(dataset))))[0]
    save(picture(some, columns=SHEET_COLUMNS), out / "samples" / "real.png")


def keep_terms(terms: dict[str, Tensor], out: Path, key: str) -> None:
    """Save the first-order terms of the kernel distances, one for each sample, for paired comparisons."""
    if terms:
        store(out / "influence" / f"{key}.safetensors", terms)
