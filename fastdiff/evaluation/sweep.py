"""The sweep: models x samplers x spacings x steps x guidance x seeds -> rows."""

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..data.registry import Dataset, Nothing
from ..io.load import about, fingerprint, load
from ..samplers import SAMPLERS, SPACINGS
from ..samplers.generate import check_labels, plan
from ..samplers.time_grids import MOST_STEPS
from .budget import Budget
from .cell import keep, keep_real, keep_terms, likelihood, measure
from .evaluator import Evaluator, open_evaluators
from .lock import lock
from .metrics import METRICS
from .provenance import provenance
from .rows import MAIN, append_row, current_rows, identity, read_rows

UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class BenchConfig:
    """What is measured: samplers x spacings x steps x guidance x seeds, of the teacher and of each student that takes them.

    Every student has besides its own sampler and grid at `steps`; one trained for a single way of sampling has that alone.
    Where neither samplers nor spacings are named, the teacher has DDIM on the uniform grid, and students their own alone.
    baselines, of the teacher: "sampler:steps" or "sampler/spacing:steps"; options as in ddim[eta=0.5].
    n: samples a cell and seed. clip: bound of |x0| while sampling. models: the students to measure, None for all.
    metrics: names of METRICS and nll, the usual ones where none but nll is named; nll is the bits per dimension of the
    data's first n examples under each model that is sampled by solving its ODE.
    budget: "90s", "10m" or "2h"; what would exceed it is left out.
    """

    steps: tuple[int, ...] = (1, 2, 4, 8)
    baselines: tuple[str, ...] = ("ddim:50", "ddpm:1000", "dpmpp_2m:4", "dpmpp_2m:8")
    samplers: tuple[str, ...] = ()
    spacings: tuple[str, ...] = ()
    guidance: float | tuple[float, ...] = (1.0,)
    n: int = 2000
    seeds: tuple[int, ...] = (0,)
    batch: int = 512
    extractor: str | None = None
    teacher: str | None = None
    models: tuple[str, ...] | None = None
    clip: float | None = None
    metrics: tuple[Literal[(*METRICS, "nll")], ...] | None = None
    budget: str | None = None

    def __post_init__(self):
        for what, least, most in (("n", 2, 10**7), ("batch", 1, 10**6)):
            if not least <= getattr(self, what) <= most:
                raise FastdiffError(f"bench.{what} = {getattr(self, what)}: expected at least {least}, and at most {most}")
        if not self.steps or min(self.steps) < 1 or max(self.steps) > MOST_STEPS:
            raise FastdiffError(f"bench.steps = {list(self.steps)}: expected step counts of at least 1, and at most "
                                f"{MOST_STEPS}")
        if beyond := [seed for seed in self.seeds if not -(2**63) <= seed < 2**63]:
            raise FastdiffError(f"bench.seeds: {beyond[0]} does not fit into 64 bits")
        if isinstance(self.guidance, int | float):
            object.__setattr__(self, "guidance", (float(self.guidance),))
        for what in ("seeds", "guidance"):
            if not getattr(self, what):
                raise FastdiffError(f"bench.{what} = []: expected at least one")
        if self.clip is not None and not self.clip > 0:
            raise FastdiffError(f"bench.clip = {self.clip}: expected a bound above 0, or null for none")
        if unknown := set(self.metrics or ()) - {*METRICS, "nll"}:
            raise FastdiffError(f"bench.metrics: {min(unknown)!r} is unknown, choose from {', '.join(METRICS)}, nll")
        distances = [metric for metric in METRICS if metric in MAIN]
        if (named := set(self.metrics or ()) - {"nll"}) and not named.intersection(distances):
            raise FastdiffError(f"bench.metrics = {list(self.metrics)}: expected a distance among them, by which rows are "
                                f"compared: {', '.join(distances)}")
        for what, known in (("samplers", SAMPLERS), ("spacings", SPACINGS)):
            for text in getattr(self, what):
                if text.partition("[")[0] not in known:
                    raise FastdiffError(f"bench.{what}: {text!r} is unknown, choose from {', '.join(known)}")
        for text in self.baselines:
            baseline(text)
        self.seconds                                                      # noqa: B018 - complains of a budget it cannot read

    @property
    def ways(self) -> list[tuple[str, str, int]]:
        """samplers x spacings x steps."""
        return list(product(self.samplers or ("ddim",), self.spacings or ("uniform",), self.steps))

    @property
    def seconds(self) -> float:
        """The budget."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", self.budget or "")
        if self.budget is not None and not found:
            raise FastdiffError(f"bench.budget = {self.budget!r}: expected a time such as 90s, 10m or 2h")
        return float(found[1]) * UNITS[found[2]] if found else float("inf")


class Cell(NamedTuple):
    """One line of the table before its seeds: a model and how it is sampled."""

    model: str
    sampler: str
    spacing: str
    steps: int
    guidance: float = 1.0
    clip: float | None = None

    def __str__(self) -> str:
        times = "," in self.spacing and "[" not in self.spacing
        spacing = f"times.{identity(times=self.spacing)[:4]}" if times else self.spacing
        guided = f"-w{self.guidance:g}" if self.guidance != 1 else ""
        clipped = f"-clip{self.clip:g}" if self.clip else ""
        return f"{self.model}-{self.sampler}-{spacing}-{self.steps}{guided}{clipped}"


def baseline(text: str) -> tuple[str, str, int]:
    """"ddpm:1000", "dpmpp_2m/karras:8" or "ode45[rtol=0.001]:1" -> sampler with its options, spacing, steps."""
    how, _, steps = text.rpartition(":")
    sampler, _, spacing = how.partition("/")
    name = sampler.partition("[")[0]
    grid = (spacing or "uniform").partition("[")[0]
    if name not in SAMPLERS or grid not in SPACINGS or not steps.isdecimal() or not 1 <= int(steps) <= MOST_STEPS:
        raise FastdiffError(f"bench.baselines: {text!r}: expected sampler:steps or sampler/spacing:steps with a sampler of "
                            f"{', '.join(SAMPLERS)} and a spacing of {', '.join(SPACINGS)}")
    return sampler, spacing or "uniform", int(steps)


def cells(models: dict[str, Denoiser], teacher: str | None, config: BenchConfig) -> list[Cell]:
    """Every way each model is sampled, the cheap ones first."""
    found = []
    for name, model in models.items():
        own = model.sampling
        if name == teacher:
            hows = config.ways + [baseline(text) for text in config.baselines]
        elif config.models is None or name in config.models:
            hows = [(own.sampler, spacing_text(own.spacing_for(k)), k) for k in (own.steps if own.only else config.steps)]
            hows += [how for how in config.ways if (config.samplers or config.spacings) and takes(model, *how)]
        else:
            continue
        found += [Cell(name, *how, guidance, config.clip) for how in dict.fromkeys(hows) for guidance in config.guidance]
    return sorted(found, key=lambda cell: (cell.steps, cell.model != teacher))


def takes(model: Denoiser, sampler: str, spacing: str, steps: int) -> bool:
    """Whether a model can be sampled so."""
    with suppress(FastdiffError):
        plan(model, sampler, steps, spacing, {})
        return True
    return False


def spacing_text(spacing: str | tuple[float, ...]) -> str:
    """A spacing as text: its name, or the times that were found for the model."""
    return spacing if isinstance(spacing, str) else ",".join(map(repr, spacing))


def sweep(models: dict[str, str | Path], dataset: Dataset, config: BenchConfig, out: str | Path, *,
          teacher: str | None = None, accelerator: Accelerator | None = None) -> Iterator[dict[str, Any]]:
    """Measure every cell with every seed and append its row to out/bench.jsonl; rows already there are read back.

    models: name -> path. teacher: the model that gets the baselines. Yields the rows, in order, on every process.
    What the budget leaves out is listed in out/left-out.json. One sweep at a time writes into a directory.
    """
    accelerator, out = accelerator or Accelerator(cpu=not torch.cuda.is_available()), Path(out)
    if teacher is not None and teacher not in models:
        raise FastdiffError(f"teacher {teacher!r} is not among the models {', '.join(models)}")
    loaded = {name: load(path, accelerator.device) for name, path in models.items()}
    notes = {name: about(Path(path).expanduser()) or {} for name, path in models.items()}
    wanted, extra = cells(loaded, teacher, config), {"clip": config.clip} if config.clip else {}
    for name in dict.fromkeys(cell.model for cell in wanted):
        check_fit(name, loaded[name], dataset, config)
    plans = {cell: plan(loaded[cell.model], cell.sampler, cell.steps, cell.spacing, extra)       # complains before the work
             for cell in wanted}
    evaluators = judges(dataset, config, accelerator.device)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FastdiffError(f"{out} cannot be written ({error.strerror}): choose another directory with --out") from None
    with alone(out, accelerator):
        yield from _sweep(loaded, plans, dataset, evaluators, config, out, accelerator, notes, models, teacher)


@contextmanager
def alone(out: Path, accelerator: Accelerator) -> Iterator[None]:
    """The directory's lock, held by the main process; where it is refused, every process says so."""
    refusal = [None]
    with ExitStack() as held:
        if accelerator.is_main_process:
            try:
                held.enter_context(lock(out))
            except FastdiffError as error:
                refusal = [error]
        broadcast_object_list(refusal)
        if refusal[0]:
            raise refusal[0]
        yield


def _sweep(loaded: dict[str, Denoiser], plans: dict[Cell, Any], dataset: Dataset, evaluators: list[Evaluator],
           config: BenchConfig, out: Path, accelerator: Accelerator, notes: dict[str, Any],
           models: dict[str, str | Path], teacher: str | None) -> Iterator[dict[str, Any]]:
    """The rows, with nobody else writing them."""
    path, main = out / "bench.jsonl", accelerator.is_main_process
    known = read_rows(path)
    done, current = {row["key"]: row for row in known}, {row["key"] for row in current_rows(known)}
    budget, bits = Budget(config.seconds, out), {}
    asked = {metric for evaluator in evaluators for metric in evaluator.metrics}
    for cell, way in plans.items():
        for seed in config.seeds:
            what = {**cell._asdict(), "seed": seed, "n": config.n,
                    "extractor": ",".join(evaluator.extractor for evaluator in evaluators),
                    "reference": evaluators[0].reference, "weights": fingerprint(models[cell.model])}
            key = identity(**what)
            row = before = done.get(key)
            if row is None or not asked <= set(row.get("metrics", ())):
                if not budget.allows(f"{cell} seed {seed}", budget.needed(cell), accelerator):
                    continue
                model = loaded[cell.model]
                measured = measure(model, way, seed, dataset, evaluators, config.n, config.batch, cell.guidance, accelerator)
                budget.spent(cell, measured.row, config.n)
                if main:
                    keep_terms(measured.terms, out, key)
                    if seed == min(config.seeds):
                        first = measured.first if seed == 0 else None
                        keep(model, way, dataset, config.n, cell.guidance, out, str(cell), first)
                        keep_real(dataset, out)
                former = before or {}                                     # other figures of the very same samples
                row = {**former, "key": key, **what, **measured.row, "dims": evaluators[0].dims, "cell": str(cell),
                       "metrics": sorted(asked.union(former.get("metrics", ()))), "teacher": cell.model == teacher,
                       **provenance(notes[cell.model], accelerator)}
            if "nll" in (config.metrics or ()) and "nll" not in row:      # a row measured before is not measured again
                if cell.model not in bits and budget.allows(f"nll of {cell.model}", 0, accelerator):
                    bits[cell.model] = likelihood(loaded[cell.model], dataset, config.n, config.batch, accelerator)
                if cell.model in bits:
                    row = row | {"nll": bits[cell.model]}
            if main and (row is not before or key not in current):        # measured, or asked for again: it is the last word
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
        raise FastdiffError(f"model {name} makes samples of shape {tuple(model.image_shape)}, the data {dataset.name} have "
                            f"{tuple(dataset.shape)}: choose the data it was trained on")
    if model.text and not dataset.captions:
        raise FastdiffError(f"model {name} draws by prompts, and the data {dataset.name} have no captions: set `captions`")
    if getattr(model.net, "image", 0) and not model.base and getattr(dataset, "image", None) is None:
        raise FastdiffError(f"model {name} is conditioned on an image, and the data {dataset.name} bring none: set `image`")
    low, high = model.guidance or (-math.inf, math.inf)
    if beyond := [weight for weight in config.guidance if not low <= weight <= high]:
        raise FastdiffError(f"guidance = {beyond[0]:g}: the model {name} was trained for guidance from {low:g} to "
                            f"{high:g}")
    if labelled := model.classes is not None and dataset.labels is not None:
        check_labels(model, dataset.labels)
    guided = [weight for weight in config.guidance if weight != 1]
    if guided and not (labelled and model.net.null_label is not None or model.text and dataset.captions):
        raise FastdiffError(f"guidance = {guided[0]:g}: needs labels or captions, of the model {name} and of the data")
