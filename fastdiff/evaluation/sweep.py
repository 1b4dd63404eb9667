"""The sweep: models x samplers x spacings x steps x guidance x seeds -> rows."""

import math
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

import torch
from accelerate import Accelerator

from ..core.accelerator import make_accelerator
from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.files import identity, make_directory
from ..data.registry import Dataset, Nothing
from ..samplers.generate import check_labels
from ..samplers.plan import plan
from .budget import Budget
from .cell import Measured, measure
from .config import BenchConfig, Cell, cells
from .contestant import Contestant
from .evaluator import Evaluator
from .likelihood import likelihood
from .lock import HeldLock, alone
from .opening import open_evaluators
from .pictures import keep, keep_real, keep_terms
from .provenance import provenance
from .rows import RowStore
from .summary import Row


class Sweep:
    """A benchmark that is ready to be measured: models loaded, cells planned, judges opened.

    Args:
        models: name -> path.
        dataset: the data that judge the samples.
        config: the settings.
        out: folder of bench.jsonl; created when the measuring begins.
        teacher: the name of the model that gets the baselines.
        accelerator: of this process, None to make one.

    Raises:
        FastdiffError: if a model, the data and the settings do not fit.
    """

    def __init__(
        self,
        models: Mapping[str, str | Path],
        dataset: Dataset,
        config: BenchConfig,
        out: str | Path,
        *,
        teacher: str | None = None,
        accelerator: Accelerator | None = None,
    ) -> None:
        if teacher is not None and teacher not in models:
            raise FastdiffError(f"teacher {teacher!r} is not among the models {', '.join(models)}")
        self.dataset = dataset
        self.config = config
        self.out = Path(out)
        self.teacher = teacher
        self.accelerator = accelerator or make_accelerator()
        device = self.accelerator.device
        self.contestants = {name: Contestant.open(name, path, device) for name, path in models.items()}
        loaded = {name: contestant.model for name, contestant in self.contestants.items()}
        self.cells = cells(loaded, teacher, config)
        for name in dict.fromkeys(cell.model for cell in self.cells):
            check_fit(name, loaded[name], dataset, config)
        bounds = {"clip": config.clip} if config.clip else {}
        self.plans = {
            cell: plan(loaded[cell.model], cell.sampler, cell.steps, cell.spacing, bounds)
            for cell in self.cells
        }
        self.evaluators = bench_evaluators(dataset, config, device)
        self.metrics = {metric for evaluator in self.evaluators for metric in evaluator.metrics}

    def rows(self, held: HeldLock | None = None) -> Iterator[Row]:
        """Measure every cell with every seed, and yield the rows in order, on every process.

        A row is appended to bench.jsonl when it is measured; rows already there are read back. Cells that the
        budget leaves out are listed in left-out.json.

        Args:
            held: the folder's lock, if the caller holds it; else it is taken here.

        Raises:
            FastdiffError: if the folder cannot be written, or another run holds its lock.
        """
        make_directory(self.out)
        with alone(self.out, self.accelerator, held):
            store = RowStore(self.out / "bench.jsonl", writes=self.accelerator.is_main_process)
            budget = Budget(self.config.seconds, self.out)
            bits: dict[str, float | None] = {}  # nll by model
            real_kept = False
            for cell, seed in product(self.plans, self.config.seeds):
                settings = self._settings(cell, seed)
                key = identity(**settings)
                row = store.get(key)
                if store.missing(key, self.metrics):
                    if not budget.allows(f"{cell} seed {seed}", budget.needed(cell), self.accelerator):
                        continue
                    measured = self._measured(cell, seed)
                    budget.spent(cell, measured.row, self.config.n)
                    self._keep(cell, seed, key, measured, with_real=not real_kept)
                    real_kept = True
                    row = self._row(cell, key, settings, measured, former=row or {})
                if self._lacks_nll(row):
                    row = self._with_nll(row, cell.model, bits, budget)
                store.update(row)
                yield row

    def _settings(self, cell: Cell, seed: int) -> Row:
        """Return the fields of a row that decide its metrics; their `identity` is its key."""
        return {
            **cell._asdict(),
            "seed": seed,
            "n": self.config.n,
            "extractor": ",".join(evaluator.extractor for evaluator in self.evaluators),
            "reference": self.evaluators[0].reference,
            "weights": self.contestants[cell.model].weights,
        }

    def _measured(self, cell: Cell, seed: int) -> Measured:
        """Draw and judge the samples of a cell and a seed."""
        return measure(
            self.contestants[cell.model].model,
            self.plans[cell],
            seed,
            self.dataset,
            self.evaluators,
            self.config.n,
            self.config.batch,
            cell.guidance,
            self.accelerator,
        )

    def _keep(self, cell: Cell, seed: int, key: str, measured: Measured, with_real: bool) -> None:
        """Save a cell's terms and, of its first seed, its pictures; with_real also the sheet of real data."""
        if not self.accelerator.is_main_process:
            return
        keep_terms(measured.terms, self.out, key)
        if seed == min(self.config.seeds):
            keep(
                self.contestants[cell.model].model,
                self.plans[cell],
                self.dataset,
                self.config.n,
                cell.guidance,
                self.out,
                str(cell),
                measured.first if seed == 0 else None,
            )
        if with_real:
            keep_real(self.dataset, self.out)

    def _row(self, cell: Cell, key: str, settings: Row, measured: Measured, former: Row) -> Row:
        """Return the row of a measurement; `former` holds other metrics of the very same samples."""
        return {
            **former,
            "key": key,
            **settings,
            **measured.row,
            "dims": self.evaluators[0].dims,
            "cell": str(cell),
            "metrics": sorted(self.metrics.union(former.get("metrics", ()))),
            "teacher": cell.model == self.teacher,
            **provenance(self.contestants[cell.model].notes, self.accelerator),
        }

    def _lacks_nll(self, row: Row) -> bool:
        """Return whether a row lacks the likelihood that the settings name."""
        return "nll" in (self.config.metrics or ()) and "nll" not in row

    def _with_nll(self, row: Row, name: str, bits: dict[str, float | None], budget: Budget) -> Row:
        """Return a row with its model's likelihood, computed once per model, if the budget allows it."""
        if name not in bits and budget.allows(f"nll of {name}", 0, self.accelerator):
            model = self.contestants[name].model
            bits[name] = likelihood(model, self.dataset, self.config.n, self.config.batch, self.accelerator)
        return {**row, "nll": bits[name]} if name in bits else row


def sweep(
    models: Mapping[str, str | Path],
    dataset: Dataset,
    config: BenchConfig,
    out: str | Path,
    *,
    teacher: str | None = None,
    accelerator: Accelerator | None = None,
) -> Iterator[Row]:
    """Measure every cell with every seed, append its row to out/bench.jsonl, and yield it.

    Rows already there are read back. One sweep at a time writes into a directory.

    Args:
        models: name -> path.
        dataset: the data that judge the samples.
        config: the settings.
        out: the folder of bench.jsonl. Cells that the budget leaves out are listed in left-out.json.
        teacher: the name of the model that gets the baselines.
        accelerator: of this process, None to make one.

    Yields:
        the rows in order, on every process. A row has
            key: identifies the fields that decide its metrics, which are model, sampler, spacing, steps,
                guidance, clip, seed, n, extractor, reference (the data and the network) and weights.
            fid, fd_digits, energy, nll, ...: the metrics, by name; metrics: their families.
            nfe, ms_per_image, images_per_s, peak_mb, flops_per_image, batch: the cost of sampling.
            broken: the first samples that were not finite, if any; the metrics are then inf.
            dims: of the features; cell: its name without the seed; teacher: whether it is the teacher's.
            method, params, ema, train_images, train_seconds, teacher_nfe: of the model's training.
            device, processes, versions, commit, time: where and when it was measured.

    Raises:
        FastdiffError: if a model, the data and the settings do not fit, or the directory cannot be written.
    """
    yield from Sweep(models, dataset, config, out, teacher=teacher, accelerator=accelerator).rows()


def bench_evaluators(dataset: Dataset, config: BenchConfig, device: torch.device) -> list[Evaluator]:
    """Open the evaluators of a benchmark.

    Raises:
        FastdiffError: if weights are missing, or the samples or the data are too few.
    """
    if isinstance(dataset, Nothing):
        raise FastdiffError("data: nothing has no images to judge samples by: name other data")
    named = None if config.metrics is None else tuple(metric for metric in config.metrics if metric != "nll")
    evaluators = open_evaluators(dataset, config.extractor, named, device)
    least = max(evaluator.least for evaluator in evaluators)
    if config.n < least:
        names = ", ".join(evaluators[0].metrics)
        raise FastdiffError(f"bench.n = {config.n}: metrics {names} need at least {least} samples")
    return evaluators


def check_fit(name: str, model: Denoiser, dataset: Dataset, config: BenchConfig) -> None:
    """Raise FastdiffError if a model's samples, conditions or guidance do not fit data and settings."""
    if tuple(model.image_shape) != tuple(dataset.shape):
        raise FastdiffError(
            f"model {name} makes samples of shape {tuple(model.image_shape)}, the data {dataset.name} have "
            f"{tuple(dataset.shape)}: choose the data it was trained on"
        )
    if model.text and not dataset.captions:
        raise FastdiffError(
            f"model {name} draws by prompts, and the data {dataset.name} have no captions: set `captions`"
        )
    if model.condition_channels and not model.base and dataset.image is None:
        raise FastdiffError(
            f"model {name} is conditioned on an image, and the data {dataset.name} bring none: set `image`"
        )
    low, high = model.guidance or (-math.inf, math.inf)
    if beyond := [weight for weight in config.guidance if not low <= weight <= high]:
        raise FastdiffError(
            f"guidance = {beyond[0]:g}: the model {name} was trained for guidance from {low:g} to {high:g}"
        )
    labelled = model.classes is not None and dataset.labels is not None
    if labelled:
        check_labels(model, dataset.labels)
    by_label = labelled and model.null_label is not None
    by_prompt = model.text and dataset.captions
    guided = [weight for weight in config.guidance if weight != 1]
    if guided and not (by_label or by_prompt):
        raise FastdiffError(
            f"guidance = {guided[0]:g}: needs labels or captions, of the model {name} and of the data"
        )
