"""One cell of a benchmark: its samples are drawn, timed and evaluated."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from ..core.cost import flops, forget_peak, peak_mb
from ..core.denoiser import Cond, Denoiser
from ..data.registry import Dataset
from ..samplers.conditions import rows_of
from ..samplers.generate import SampleBatch, generate
from ..samplers.plan import SamplingPlan
from .conditions import dataset_conditions, sample_folds
from .evaluator import Evaluator
from .pictures import sheet_size

MAX_NAMED_BROKEN = 10  # most samples that `broken` lists in a row


class Measured(NamedTuple):
    """The measurement of a cell: metrics and costs by key, terms of its kernel distance, first samples."""

    row: dict[str, Any]
    terms: dict[str, Tensor]
    first: Tensor


@dataclass
class Cost:
    """The cost of sampling on this process, without that of the metrics.

    Args:
        seconds: total time in seconds.
        peak: peak memory in MiB.
        evaluations: network evaluations, summed over samples.
    """

    seconds: float = 0.0
    peak: float = 0.0
    evaluations: int = 0

    def timed(self, batches: Iterator[SampleBatch], device: torch.device) -> Iterator[SampleBatch]:
        """Yield the batches, and add the cost of making each."""
        cuda = device.type == "cuda"
        while True:
            forget_peak(device)
            if cuda:
                torch.cuda.synchronize()
            start = time.perf_counter()
            made = next(batches, None)
            if cuda:
                torch.cuda.synchronize()
            if made is None:
                return
            self.seconds += time.perf_counter() - start
            self.peak = max(self.peak, peak_mb(device))
            self.evaluations += made.nfe * len(made.indices)
            yield made


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
    """Draw n samples in batches, divided among the processes, and return their metrics and costs.

    The time is that of sampling only: a batch is drawn in one step before it, and metrics are not included.

    Args:
        model: model to sample.
        way: sampler, time grid and options.
        seed: seed of the noise.
        dataset: data set whose labels, captions or images are the samples' conditions.
        evaluators: evaluators of the samples; the row lists the broken samples of the first one.
        n: number of samples on all processes together.
        batch: samples per batch on each process.
        guidance: guidance weight, 1 for no guidance.
        accelerator: accelerator of this process.

    Returns:
        The fields of the row that were measured, each sample's terms of the kernel distances, and the first
        samples (k, *shape) for the cell's sheet.
    """
    device = accelerator.device
    indices = torch.arange(n)[accelerator.process_index :: accelerator.num_processes]
    cond = dataset_conditions(model, dataset, n)
    labels = (cond or {}).get("label")
    folds = sample_folds(model, dataset, n)
    warm_up(model, way, indices[:batch], rows_of(cond, indices[:batch]), guidance)
    batches = generate(
        model, way, indices, seed=seed, cond=rows_of(cond, indices), batch=batch, guidance=guidance
    )
    cost = Cost()
    first: list[tuple[int, Tensor]] = []
    shown = sheet_size(dataset, n)
    for made in cost.timed(batches, device):
        for evaluator in evaluators:
            evaluator.add(
                made.indices,
                made.x,
                labels[made.indices] if labels is not None else None,
                folds[made.indices] if folds is not None else None,
            )
        first += [(i, x.cpu()) for i, x in zip(made.indices.tolist(), made.x) if i < shown]
    results = [evaluator.result(accelerator) for evaluator in evaluators]
    evaluations = accelerator.reduce(torch.tensor(float(cost.evaluations), device=device), "sum")
    nfe = round(float(evaluations) / n, 2)  # an adaptive solver's NFE differs between batches
    operations = flops(model)
    row: dict[str, Any] = {"nfe": int(nfe) if nfe == int(nfe) else nfe}
    for figures in results:
        row.update(figures.values)
    row["ms_per_image"] = 1000 * cost.seconds / n
    row["images_per_s"] = n / cost.seconds
    row["peak_mb"] = cost.peak
    row["batch"] = min(batch, len(indices))
    row["flops_per_image"] = None if operations is None else round(operations * nfe)
    if results[0].broken:
        row["broken"] = results[0].broken[:MAX_NAMED_BROKEN]
    in_order = sorted(gather_object(first), key=lambda pair: pair[0])
    terms = next((figures.terms for figures in results if figures.terms), {})
    return Measured(row, terms, torch.stack([x for _, x in in_order]))


def warm_up(model: Denoiser, way: SamplingPlan, indices: Tensor, cond: Cond, guidance: float) -> None:
    """Draw one batch in one step, so that the extra cost of the first evaluation is not measured."""
    one_step = replace(way, sampler="ddim", times=way.times[[0, -1]], sampler_options={})
    for _ in generate(model, one_step, indices, cond=cond, batch=max(1, len(indices)), guidance=guidance):
        pass
