"""The sweep: models x samplers x spacings x steps x guidance x seeds -> rows."""

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from ..core.accelerator import make_accelerator
from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.files import identity
from ..data.registry import Dataset, Nothing
from ..io.fingerprint import fingerprint
from ..io.load import about, load
from ..samplers.generate import check_labels
from ..samplers.plan import SamplingPlan, plan
from .budget import Budget
from .cell import keep, keep_real, keep_terms, likelihood, measure
from .config import BenchConfig, Cell, baseline
from .evaluator import Evaluator, open_evaluators
from .lock import alone
from .provenance import provenance
from .rows import append_row, read_rows
from .summary import current_rows


def cells(models: dict[str, Denoiser], teacher: str | None, config: BenchConfig) -> list[Cell]:
    """Every way each model is sampled, the cheap ones first."""
    found = []
    for name, model in models.items():
        own = model.sampling
        if name == teacher:
            hows = config.ways + [baseline(text) for text in config.baselines]
        elif config.models is None or name in config.models:
            hows = [
                (own.sampler, spacing_text(own.spacing_for(k)), k)
                for k in (own.steps if own.only else config.steps)
            ]
            hows += [
                how for how in config.ways if (config.samplers or config.spacings) and takes(model, *how)
            ]
        else:
            continue
        found += [
            Cell(name, *how, guidance, config.clip)
            for how in dict.fromkeys(hows)
            for guidance in config.guidance
        ]
    return sorted(found, key=lambda cell: (cell.steps, cell.model != teacher))


def takes(model: Denoiser, sampler: str, spacing: str, steps: int) -> bool:
    """Whether a model can be sampled so."""
    with suppress(FastdiffError):
        plan(model, sampler, steps, spacing)
        return True
    return False


def spacing_text(spacing: str | tuple[float, ...]) -> str:
    """A spacing as text: its name, or the times that were found for the model."""
    return spacing if isinstance(spacing, str) else ",".join(map(repr, spacing))


def sweep(
    models: dict[str, str | Path],
    dataset: Dataset,
    config: BenchConfig,
    out: str | Path,
    *,
    teacher: str | None = None,
    accelerator: Accelerator | None = None,
) -> Iterator[dict[str, Any]]:
    """Measure every cell with every seed and append its row to out/bench.jsonl; rows already there are read back.

    models: name -> path. teacher: the model that gets the baselines. Yields the rows, in order, on every
    process. What the budget leaves out is listed in out/left-out.json. One sweep at a time writes into a
    directory.
    """
    accelerator, out = accelerator or make_accelerator(), Path(out)
    if teacher is not None and teacher not in models:
        raise FastdiffError(f"teacher {teacher!r} is not among the models {', '.join(models)}")
    loaded = {name: load(path, accelerator.device) for name, path in models.items()}
    notes = {name: about(Path(path).expanduser()) or {} for name, path in models.items()}
    wanted, extra = cells(loaded, teacher, config), {"clip": config.clip} if config.clip else {}
    for name in dict.fromkeys(cell.model for cell in wanted):
        check_fit(name, loaded[name], dataset, config)
    plans = {
        cell: plan(
            loaded[cell.model], cell.sampler, cell.steps, cell.spacing, extra
        )  # complains before the work
        for cell in wanted
    }
    evaluators = judges(dataset, config, accelerator.device)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FastdiffError(
            f"{out} cannot be written ({error.strerror}): choose another directory with --out"
        ) from None
    with alone(out, accelerator):
        yield from _sweep(
            loaded, plans, dataset, evaluators, config, out, accelerator, notes, models, teacher
        )


def _sweep(
    loaded: dict[str, Denoiser],
    plans: dict[Cell, SamplingPlan],
    dataset: Dataset,
    evaluators: list[Evaluator],
    config: BenchConfig,
    out: Path,
    accelerator: Accelerator,
    notes: dict[str, Any],
    models: dict[str, str | Path],
    teacher: str | None,
) -> Iterator[dict[str, Any]]:
    """The rows, with nobody else writing them."""
    path, main = out / "bench.jsonl", accelerator.is_main_process
    known = read_rows(path)
    done, current = {row["key"]: row for row in known}, {row["key"] for row in current_rows(known)}
    budget, bits = Budget(config.seconds, out), {}
    asked = {metric for evaluator in evaluators for metric in evaluator.metrics}
    for cell, way in plans.items():
        for seed in config.seeds:
            what = {
                **cell._asdict(),
                "seed": seed,
                "n": config.n,
                "extractor": ",".join(evaluator.extractor for evaluator in evaluators),
                "reference": evaluators[0].reference,
                "weights": fingerprint(models[cell.model]),
            }
            key = identity(**what)
            row = before = done.get(key)
            if row is None or not asked <= set(row.get("metrics", ())):
                if not budget.allows(f"{cell} seed {seed}", budget.needed(cell), accelerator):
                    continue
                model = loaded[cell.model]
                measured = measure(
                    model, way, seed, dataset, evaluators, config.n, config.batch, cell.guidance, accelerator
                )
                budget.spent(cell, measured.row, config.n)
                if main:
                    keep_terms(measured.terms, out, key)
                    if seed == min(config.seeds):
                        first = measured.first if seed == 0 else None
                        keep(model, way, dataset, config.n, cell.guidance, out, str(cell), first)
                        keep_real(dataset, out)
                former = before or {}  # other figures of the very same samples
                row = {
                    **former,
                    "key": key,
                    **what,
                    **measured.row,
                    "dims": evaluators[0].dims,
                    "cell": str(cell),
                    "metrics": sorted(asked.union(former.get("metrics", ()))),
                    "teacher": cell.model == teacher,
                    **provenance(notes[cell.model], accelerator),
                }
            if (
                "nll" in (config.metrics or ()) and "nll" not in row
            ):  # a row measured before is not measured again
                if cell.model not in bits and budget.allows(f"nll of {cell.model}", 0, accelerator):
                    bits[cell.model] = likelihood(
                        loaded[cell.model], dataset, config.n, config.batch, accelerator
                    )
                if cell.model in bits:
                    row = row | {"nll": bits[cell.model]}
            if main and (
                row is not before or key not in current
            ):  # measured, or asked for again: it is the last word
                append_row(path, row)
            done[key] = row
            yield row


def judges(dataset: Dataset, config: BenchConfig, device: torch.device) -> list[Evaluator]:
    """What judges the samples; FastdiffError where its weights are not to be had, or the samples or the data too few."""
    if isinstance(dataset, Nothing):
        raise FastdiffError("data: nothing has no images to judge samples by: name other data")
    named = None if config.metrics is None else tuple(metric for metric in config.metrics if metric != "nll")
    evaluators = open_evaluators(dataset, config.extractor, named, device)
    if config.n < (least := max(evaluator.least for evaluator in evaluators)):
        names = ", ".join(evaluators[0].metrics)
        raise FastdiffError(f"bench.n = {config.n}: metrics {names} need at least {least} samples")
    return evaluators


def check_fit(name: str, model: Denoiser, dataset: Dataset, config: BenchConfig) -> None:
    """Refuse a model that this data cannot judge."""
    if tuple(model.image_shape) != tuple(dataset.shape):
        raise FastdiffError(
            f"model {name} makes samples of shape {tuple(model.image_shape)}, the data {dataset.name} have "
            f"{tuple(dataset.shape)}: choose the data it was trained on"
        )
    if model.text and not dataset.captions:
        raise FastdiffError(
            f"model {name} draws by prompts, and the data {dataset.name} have no captions: set `captions`"
        )
    if model.condition_channels and not model.base and getattr(dataset, "image", None) is None:
        raise FastdiffError(
            f"model {name} is conditioned on an image, and the data {dataset.name} bring none: set `image`"
        )
    low, high = model.guidance or (-math.inf, math.inf)
    if beyond := [weight for weight in config.guidance if not low <= weight <= high]:
        raise FastdiffError(
            f"guidance = {beyond[0]:g}: the model {name} was trained for guidance from {low:g} to {high:g}"
        )
    if labelled := model.classes is not None and dataset.labels is not None:
        check_labels(model, dataset.labels)
    guided = [weight for weight in config.guidance if weight != 1]
    if guided and not (labelled and model.null_label is not None or model.text and dataset.captions):
        raise FastdiffError(
            f"guidance = {guided[0]:g}: needs labels or captions, of the model {name} and of the data"
        )
