"""One cell of a benchmark: samples drawn, timed and judged, and the pictures that are kept of it."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from ..core.cost import flops, forget_peak, peak_mb
from ..core.denoiser import Cond, Denoiser
from ..data.batch import as_floats
from ..data.image_grid import beside, picture, save
from ..data.registry import Dataset
from ..samplers.generate import conditions, generate, rows_of
from ..samplers.likelihood import nll
from ..samplers.plan import SamplingPlan
from .evaluator import Evaluator, store

COLUMNS = 16  # of a sheet of samples
SHEET = 64  # samples that are kept of a cell, of its first seed
POINTS = 1000  # the same of points in the plane
FOLLOWED = 8  # samples whose way from noise is kept
STATES = 10  # pictures on that way
NAMED = 10  # broken samples that a row names


class Measured(NamedTuple):
    """A row's figures and costs, the terms of its kernel distance, and its first samples."""

    row: dict[str, Any]
    terms: dict[str, Tensor]
    first: Tensor


def measure(
    model: Denoiser,
    way: SamplingPlan,
    seed: int,
    dataset: Dataset,
    evaluators: list[Evaluator],
    n: int,
    batch: int,
    guidance: float,
    accelerator: Accelerator,
) -> Measured:
    """Draw this process's share of n samples, in batches; what all of them cost and are worth.

    Time is that of sampling alone: one evaluation at the real batch size runs before, and judging is not in
    it.
    """
    mine = torch.arange(n)[accelerator.process_index :: accelerator.num_processes]
    cond, cuda = asked(model, dataset, n), accelerator.device.type == "cuda"
    labels = (cond or {}).get("label")
    warm_up = replace(way, sampler="ddim", times=way.times[[0, -1]], sampler_options={})
    for _ in generate(
        model, warm_up, mine[:batch], cond=rows_of(cond, mine[:batch]), batch=batch, guidance=guidance
    ):
        pass
    seconds, peak, spent, first, shown = 0.0, 0.0, 0, [], sheet_of(dataset, n)
    making = generate(model, way, mine, seed=seed, cond=rows_of(cond, mine), batch=batch, guidance=guidance)
    while True:
        forget_peak(accelerator.device)
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        made = next(making, None)
        if cuda:
            torch.cuda.synchronize()
        if made is None:
            break
        seconds += time.perf_counter() - start
        peak = max(peak, peak_mb(accelerator.device))
        spent += made.nfe * len(made.indices)
        for evaluator in evaluators:
            evaluator.add(made.indices, made.x, labels[made.indices] if labels is not None else None)
        first += [(i, x.cpu()) for i, x in zip(made.indices.tolist(), made.x) if i < shown]
    found = [evaluator.result(accelerator) for evaluator in evaluators]
    all_spent = accelerator.reduce(torch.tensor(float(spent), device=accelerator.device), "sum")
    nfe = round(float(all_spent) / n, 2)  # an adaptive solver's differs by batch
    operations = flops(model)
    row = {"nfe": int(nfe) if nfe == int(nfe) else nfe}
    for figures in found:
        row |= figures.values
    row |= {
        "ms_per_image": 1000 * seconds / n,
        "images_per_s": n / seconds,
        "peak_mb": peak,
        "batch": min(batch, len(mine)),
        "flops_per_image": None if operations is None else round(operations * nfe),
    }
    if found[0].broken:
        row["broken"] = found[0].broken[:NAMED]
    samples = torch.stack([x for _, x in sorted(gather_object(first), key=lambda pair: pair[0])])
    return Measured(row, next((figures.terms for figures in found if figures.terms), {}), samples)


def asked(model: Denoiser, dataset: Dataset, n: int) -> Cond:
    """What each of n samples is conditioned on: the classes, captions and images of the data in their order."""
    rows = torch.arange(n) % len(dataset)
    labelled = model.classes is not None and dataset.labels is not None
    return conditions(
        model,
        n,
        dataset.labels[rows] if labelled else None,
        [dataset.captions[i] for i in rows.tolist()] if model.text and dataset.captions else None,
        as_floats(dataset.image[rows]) if model.condition_channels and not model.base else None,
    )


def sheet_of(dataset: Dataset, n: int) -> int:
    """How many of n samples are kept to be seen."""
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
    """Pictures of a cell, from the noise of seed 0 in every cell: a sheet, and the way of a few by their clean predictions.

    first: the sheet's samples, where that seed was measured.
    """
    states: list[Tensor] = []

    def drawn(count: int, **watch: Any) -> Tensor:
        [made] = generate(
            model,
            way,
            torch.arange(count),
            seed=0,
            guidance=guidance,
            batch=count,
            cond=asked(model, dataset, count),
            **watch,
        )
        return made.x

    first = drawn(sheet_of(dataset, n)) if first is None else first
    last = drawn(
        len(first) if len(dataset.shape) == 1 else min(FOLLOWED, len(first)),
        watch=lambda _, state: states.append(state.x0.cpu()),
    )
    save(picture(first, columns=COLUMNS), out / "samples" / f"{cell}.png")
    if way_down := chosen(states, STATES - 1):  # one step is no way
        strips = [picture(x, columns=1) for x in (*(model.decoded(x.to(last)) for x in way_down), last)]
        save(beside(strips), out / "trajectory" / f"{cell}.png")


def chosen(states: list[Tensor], count: int) -> list[Tensor]:
    """At most so many states, evenly from the first; not the last, whose prediction is the sample itself."""
    before = states[:-1]
    return [
        before[place] for place in torch.linspace(0, len(before) - 1, min(count, len(before))).round().long()
    ]


def keep_real(dataset: Dataset, out: Path) -> None:
    """The sheet of real data that the samples' sheets are seen beside."""
    some = dataset.get(torch.arange(sheet_of(dataset, len(dataset))))[0]
    save(picture(some, columns=COLUMNS), out / "samples" / "real.png")


def keep_terms(terms: dict[str, Tensor], out: Path, key: str) -> None:
    """Each sample's part in the kernel distance, for the paired comparison of cells."""
    if terms:
        store(out / "influence" / f"{key}.safetensors", terms)


def likelihood(
    model: Denoiser, dataset: Dataset, n: int, batch: int, accelerator: Accelerator
) -> float | None:
    """Bits per dimension of the data's first n examples, on all processes; None of a student that jumps.

    Without guidance: None too of a model that is told its guidance and does not know 1, and of one upon more
    than classes.
    """
    if model.sampling.only or model.sampling.sampler in ("consistency", "gamma"):
        return None
    if model.latent or model.text or model.condition_channels:
        return None
    if model.guidance and not model.guidance[0] <= 1 <= model.guidance[1]:
        return None
    n = min(n, len(dataset))
    mine = torch.arange(n)[accelerator.process_index :: accelerator.num_processes]
    labelled, total = (
        model.classes is not None,
        torch.zeros((), dtype=torch.float64, device=accelerator.device),
    )
    for rows in mine.split(batch):
        x0, cond = dataset.get(rows)
        cond = (
            {name: value.to(accelerator.device) for name, value in cond.items()}
            if labelled and cond
            else None
        )
        levels = 256 if dataset.examples.dtype == torch.uint8 else None
        total += nll(model, x0.to(accelerator.device), cond=cond, levels=levels, indices=rows).double().sum()
    return float(accelerator.reduce(total)) / n
