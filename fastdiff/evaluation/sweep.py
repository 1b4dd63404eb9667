"""The sweep: models x samplers x spacings x steps x guidance x seeds -> rows."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from ..core.accelerator import make_accelerator
from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.files import identity, make_directory
from ..core.guidance import usual_guidance
from ..data.registry import Dataset
from ..samplers.plan import plan
from .budget import Budget
from .cell import Measured, measure
from .class_names import check_classes
from .conditions import is_conditional
from .config import BenchConfig, Cell, cells
from .contestant import Contestant
from .likelihood import likelihood
from .lock import HeldLock, alone
from .opening import bench_evaluators
from .pictures import keep, keep_real, keep_terms
from .provenance import provenance
from .real_data import RealData
from .rows import RowStore
from .summary import Row


class Sweep:
    """A benchmark that is ready to run: models loaded, cells planned, evaluators opened.

    Args:
        models: folders of the models, by name.
        dataset: data set that the samples are compared with.
        config: settings of the benchmark.
        out: folder of bench.jsonl; created when the first row is measured.
        teacher: name of the model that is measured with the baselines; None for no teacher.
        accelerator: accelerator of this process; None to create one.
        held_out: examples of the split `config.held_out`; None without one.

    Raises:
        FastdiffError: if the models, the data and the settings do not fit each other.
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
        held_out: Dataset | None = None,
    ) -> None:
        if teacher is not None and teacher not in models:
            raise FastdiffError(f"teacher = {teacher!r}: expected one of the models {', '.join(models)}")
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
            weights = tuple(sorted({cell.guidance for cell in self.cells if cell.model == name}))
            used = replace(config, guidance=weights)
            check_fit(name, loaded[name], dataset, used, self.contestants[name].notes)
        bounds = {"clip": config.clip} if config.clip else {}
        self.plans = {
            cell: plan(loaded[cell.model], cell.sampler, cell.steps, cell.spacing, bounds)
            for cell in self.cells
        }
        self.evaluators = bench_evaluators(dataset, config, device)
        self.metrics = {metric for evaluator in self.evaluators for metric in evaluator.metrics}
        self.held_out = held_out
        conditional = any(is_conditional(loaded[cell.model]) for cell in self.cells)
        self.real = RealData(dataset, held_out, config.held_out, self.evaluators, config.n, conditional)
        self.real_rows: list[Row] = []

    def rows(self, held: HeldLock | None = None) -> Iterator[Row]:
        """Measure every cell with every seed, and yield the rows in order, on every process.

        A row is appended to bench.jsonl once it is measured; existing rows are read back. Cells that the
        budget skips are listed in left-out.json. Rows of real data are measured first; they are not yielded,
        but listed in `real_rows`.

        Args:
            held: lock of the folder, if the caller holds it; None to lock the folder here.

        Raises:
            FastdiffError: if the folder cannot be written, or another run holds its lock.
        """
        make_directory(self.out)
        with alone(self.out, self.accelerator, held):
            store = RowStore(self.out / "bench.jsonl", writes=self.accelerator.is_main_process)
            budget = Budget(self.config.seconds, self.out, self.config.n)
            bits: dict[str, dict[str, float | None]] = {}  # likelihoods by model
            real_kept = False
            self.real_rows = list(self.real.rows(store, budget, self.metrics, self.accelerator))
            for cell, seed in product(self.plans, self.config.seeds):
                settings = self._settings(cell, seed)
                key = identity(**settings)
                row = store.get(key)
                if store.missing(key, self.metrics):
                    if not budget.allows(f"{cell} seed {seed}", budget.needed(cell), self.accelerator):
                        continue
                    measured = self._measured(cell, seed)
                    budget.spent(cell, measured.row)
                    self._keep(cell, seed, key, measured, with_real=not real_kept)
                    real_kept = True
                    row = self._row(cell, key, settings, measured, former=row or {})
                if self._lacks_nll(row):
                    row = self._with_nll(row, cell.model, bits, budget)
                store.update(row)
                yield Row(row)

    def _n(self, cell: Cell) -> int:
        """Return the number of samples of a cell."""
        return cell.n or self.config.n

    def _settings(self, cell: Cell, seed: int) -> Row:
        """Return the fields that determine the metrics of a row; its key is their `identity`."""
        return {
            **cell._asdict(),
            "seed": seed,
            "n": self._n(cell),
            "extractor": ",".join(evaluator.extractor for evaluator in self.evaluators),
            "reference": self.evaluators[0].reference,
            "weights": self.contestants[cell.model].weights,
        }

    def _measured(self, cell: Cell, seed: int) -> Measured:
        """Draw and evaluate the samples of a cell with one seed."""
        return measure(
            self.contestants[cell.model].model,
            self.plans[cell],
            seed,
            self.dataset,
            self.evaluators,
            self._n(cell),
            self.config.batch,
            cell.guidance,
            self.accelerator,
        )

    def _keep(self, cell: Cell, seed: int, key: str, measured: Measured, with_real: bool) -> None:
        """Save a cell's terms, its pictures for the first seed, and, `with_real`, a sheet of real data."""
        if not self.accelerator.is_main_process:
            return
        keep_terms(measured.terms, self.out, key)
        if seed == min(self.config.seeds):
            keep(
                self.contestants[cell.model].model,
                self.plans[cell],
                self.dataset,
                self._n(cell),
                cell.guidance,
                self.out,
                str(cell),
                measured.first if seed == 0 else None,
            )
        if with_real:
            keep_real(self.dataset, self.out)

    def _row(self, cell: Cell, key: str, settings: Row, measured: Measured, former: Row) -> Row:
        """Return the row of a measurement; `former` holds other metrics of the same samples."""
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
        """Return whether the settings include nll and a row lacks it."""
        return "nll" in (self.config.metrics or ()) and not self._sources.keys() <= row.keys()

    @property
    def _sources(self) -> dict[str, Dataset]:
        """The data sets of which likelihoods are computed, by the key of the row."""
        held_out = {"nll_held_out": self.held_out} if self.held_out else {}
        return {"nll": self.dataset, **held_out}

    def _with_nll(self, row: Row, name: str, bits: dict[str, dict[str, float | None]], budget: Budget) -> Row:
        """Return a row with the nll of its model, computed once per model, if the budget allows it."""
        if name not in bits and budget.allows(f"nll of {name}", 0, self.accelerator):
            model = self.contestants[name].model
            bits[name] = {
                key: likelihood(model, data, self.config.n, self.config.batch, self.accelerator)
                for key, data in self._sources.items()
            }
        return {**row, **bits.get(name, {})}


def sweep(
    models: Mapping[str, str | Path],
    dataset: Dataset,
    config: BenchConfig,
    out: str | Path,
    *,
    teacher: str | None = None,
    accelerator: Accelerator | None = None,
    held_out: Dataset | None = None,
) -> Iterator[Row]:
    """Benchmark models: measure every cell with every seed, append a row to out/bench.jsonl, and yield it.

    A cell is a model with a sampler, a spacing, a number of steps and a guidance weight; see BenchConfig for
    the cells of a benchmark. Rows that out/bench.jsonl already has are read back, not measured again, so
    that an interrupted sweep resumes. Only one sweep at a time can write into a folder.

    Args:
        models: folders of the models, by name.
        dataset: data set that the samples are compared with; also the source of their conditions.
        config: settings of the benchmark.
        out: folder of bench.jsonl, samples/, trajectory/ and influence/; created if missing. Cells that the
            budget skips are listed in out/left-out.json.
        teacher: name of the model that is measured with config.baselines; None for no teacher.
        accelerator: accelerator of this process; None to create one.
        held_out: examples of the split `config.held_out`; None without one.

    Yields:
        The rows of the models, cells of few steps first, on every process: dicts whose keys are documented in
        fastdiff.evaluation.rows, printed as one line. Rows of real data are only written.

    Raises:
        FastdiffError: if the models, the data and the settings do not fit each other, if `out` cannot be
            written, or if another sweep is writing into it.

    Example:
        >>> config = BenchConfig(steps=(1, 4), n=512)
        >>> models = {"teacher": "runs/teacher", "student": "runs/student"}
        >>> for row in sweep(models, open_dataset("digits"), config, "runs/bench", teacher="teacher"):
        ...     print(row, row["fd_digits"], row["ms_per_image"])
    """
    yield from Sweep(
        models, dataset, config, out, teacher=teacher, accelerator=accelerator, held_out=held_out
    ).rows()


def check_fit(
    name: str, model: Denoiser, dataset: Dataset, config: BenchConfig, notes: Mapping[str, Any] | None = None
) -> None:
    """Raise FastdiffError if the samples, classes, conditions or guidance of a model do not fit the rest.

    Args:
        name: name of the model.
        model: the model.
        dataset: data set that judges it.
        config: settings of the benchmark.
        notes: metadata of the model, which may name its classes.
    """
    if tuple(model.image_shape) != tuple(dataset.shape):
        raise FastdiffError(
            f"model {name} makes samples of shape {tuple(model.image_shape)}, the data {dataset.name} have "
            f"{tuple(dataset.shape)}: choose the data that it was trained on"
        )
    if model.text and not dataset.captions:
        raise FastdiffError(
            f"model {name} needs prompts, but the data {dataset.name} have no captions: set `captions`"
        )
    if model.condition_channels and not model.base and dataset.image is None:
        raise FastdiffError(
            f"model {name} is conditioned on an image, but the data {dataset.name} have none: set `image`"
        )
    low, high = model.guidance or (-math.inf, math.inf)
    weights = config.guidance or (usual_guidance(model),)
    if beyond := [weight for weight in weights if not low <= weight <= high]:
        raise FastdiffError(
            f"guidance = {beyond[0]:g}: the model {name} was trained for guidance from {low:g} to {high:g}"
        )
    check_classes(f"model {name}", model, dataset, (notes or {}).get("class_names", ()))
    labelled = model.classes is not None and dataset.labels is not None
    by_label = labelled and model.null_label is not None
    by_prompt = model.text and dataset.captions
    guided = [weight for weight in weights if weight != 1]
    if guided and not (by_label or by_prompt):
        raise FastdiffError(
            f"guidance = {guided[0]:g}: needs labels or captions, in the model {name} and in the data"
        )
