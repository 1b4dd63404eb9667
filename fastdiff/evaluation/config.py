"""The configuration of a benchmark, and the cells that follow from it."""

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.files import identity
from ..core.guidance import usual_guidance
from ..core.registry import known_name
from ..core.validation import Bound, Seed, check_bounds
from ..core.wording import suggestion, unregistered
from ..samplers import SAMPLERS, SPACINGS
from ..samplers.plan import plan
from ..samplers.time_grids import MAX_STEPS
from .baselines import BASELINES
from .metric_names import MAIN_METRICS
from .metrics import METRICS

UNITS = {"s": 1, "m": 60, "h": 3600}
MAX_SAMPLES = 10**7
KNOWN_METRICS = (*METRICS, "nll")

Way = tuple[str, str, int]  # sampler with its options, spacing, steps
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS)]


@dataclass(frozen=True)
class BenchConfig:
    """The settings of a benchmark: samplers x spacings x steps x guidance x seeds.

    The teacher is measured with every combination of samplers, spacings and steps, and each student with
    those that it supports. Every student is also measured with its own sampler and grid at `steps`; a student
    trained for one fixed grid is measured with that grid only. If neither `samplers` nor `spacings` is given,
    the teacher is measured with DDIM on the uniform grid, and students only with their own sampler.

    Args:
        steps: numbers of sampling steps, each from 1 to 1,000,000.
        baselines: extra measurements of the teacher, as "sampler:steps" or "sampler/spacing:steps", with
            options in brackets, such as "ddim[eta=0.5]:50"; "ddpm:1000@512" measures with 512 samples in the
            place of `n`.
        samplers: samplers at every number of steps, with options in brackets. If empty, the teacher has
            ddim and each student its own.
        spacings: spacings of the time grids of those samplers, with options in brackets; uniform if empty.
        guidance: classifier-free guidance weight, or several; each is a cell of its own. 1 means no guidance.
            None: 1, or for a model that takes a weight as an input the nearest that it was trained for; the
            teacher is measured with the weights of all its students.
        n: number of samples per cell and seed, from 2 to 10,000,000. Frechet distances of
            different n cannot be compared.
        seeds: seeds of the noise; a row for each.
        batch: samples per batch, on each process.
        extractor: feature networks separated by commas: "inception", another name of torch-fidelity, a folder
            with model.safetensors and features.json, or name:file for the file of its weights; "pixels"
            compares downscaled images without a network. None: the shipped digits classifier for the digits,
            Inception-v3 for other images, or "pixels" if its weights are not available; none for vectors.
        teacher: in recipes, the stage whose model is measured with the baselines. None: the stage that other
            stages name as their teacher.
        models: names of the students to measure. None: all of them.
        clip: bound of |x0| while sampling, above 0; inf for no bound. None: each model's own, by default no
            bound.
        metrics: metrics to compute. None, or "nll" as
            the only one: fd, kd, pr and accuracy (where the data have classes that the feature network
            distinguishes) for images, energy, swd and pr for vectors and pixels. "nll" adds the bits per
            dimension of the first n examples of the data, for models that are sampled by solving their ODE.
        held_out: name of the split of the data, such as "test", whose examples are the row "real data, held
            out", and whose likelihood "nll" adds. None: the data are divided at random.
        budget: time for the whole sweep, such as "90s", "10m" or "2h"; cells that would exceed it are
            skipped and listed in left-out.json. None: unlimited.

    Raises:
        FastdiffError: for a setting that is unknown or out of its range.

    Example:
        >>> config = BenchConfig(steps=(1, 4), baselines=("ddim:50",), guidance=(1.0, 2.0), seeds=(0, 1))
    """

    steps: tuple[Steps, ...] = (1, 2, 4, 8)
    baselines: tuple[str, ...] = BASELINES
    samplers: tuple[str, ...] = ()
    spacings: tuple[str, ...] = ()
    guidance: float | tuple[float, ...] | None = None
    n: Annotated[int, Field(ge=2, le=MAX_SAMPLES)] = 2000
    seeds: tuple[Seed, ...] = (0,)
    batch: Annotated[int, Field(ge=1, le=10**6)] = 512
    extractor: str | None = None
    teacher: str | None = None
    models: tuple[str, ...] | None = None
    clip: Annotated[Bound, Field(gt=0)] | None = None
    metrics: tuple[Literal[KNOWN_METRICS], ...] | None = None
    held_out: str | None = None
    budget: str | None = None

    def __post_init__(self) -> None:
        check_bounds(self, "bench")
        if isinstance(self.guidance, int | float):
            object.__setattr__(self, "guidance", (float(self.guidance),))
        for name in ("steps", "seeds", "guidance"):
            if getattr(self, name) == ():
                raise FastdiffError(f"bench.{name} = []: expected at least one value")
        self._check_metrics()
        for name, known in (("samplers", SAMPLERS), ("spacings", SPACINGS)):
            object.__setattr__(self, name, tuple(known_name(text, known) for text in getattr(self, name)))
            for text in getattr(self, name):
                if (word := text.partition("[")[0]) not in known:
                    raise FastdiffError(unregistered(f"bench.{name}: {text!r}", word, known))
        for text in self.baselines:
            baseline(text)
        parse_budget(self.budget)

    def _check_metrics(self) -> None:
        named = set(self.metrics or ())
        if unknown := named - set(KNOWN_METRICS):
            near = suggestion(min(unknown), KNOWN_METRICS)
            raise FastdiffError(f"bench.metrics: {min(unknown)!r} is unknown{near}")
        distances = [metric for metric in METRICS if metric in MAIN_METRICS]
        if named - {"nll"} and not named.intersection(distances):
            raise FastdiffError(
                f"bench.metrics = {list(self.metrics)}: expected a distance among them, by which rows are "
                f"ranked: {', '.join(distances)}"
            )

    @property
    def ways(self) -> list[Way]:
        """Every combination of samplers, spacings and steps."""
        return list(product(self.samplers or ("ddim",), self.spacings or ("uniform",), self.steps))

    @property
    def smallest_n(self) -> int:
        """The smallest number of samples of a row: n, or that of a baseline."""
        return min(n or self.n for _, n in [(None, self.n), *map(baseline, self.baselines)])

    @property
    def seconds(self) -> float:
        """The budget in seconds; inf without a budget."""
        return parse_budget(self.budget)


def parse_budget(text: str | None) -> float:
    """Return a budget such as "90s", "10m" or "2h" in seconds; inf for None.

    Raises:
        FastdiffError: for any other format.
    """
    if text is None:
        return float("inf")
    parsed = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not parsed:
        raise FastdiffError(f"bench.budget = {text!r}: expected a time such as 90s, 10m or 2h")
    number, unit = parsed.groups()
    return float(number) * UNITS[unit]


def baseline(text: str) -> tuple[Way, int | None]:
    """Parse "ddpm:1000", "dpmpp_2m/karras:8", "ode45[rtol=0.001]:1" or "ddpm:1000@512".

    Returns:
        The sampler with its options, the spacing and the number of steps; and the number of samples, None for
        that of the benchmark.

    Raises:
        FastdiffError: for any other format, and for an unknown sampler or spacing.
    """
    how, _, counts = text.rpartition(":")
    steps, at, n = counts.partition("@")
    sampler, _, spacing = how.partition("/")
    sampler, spacing = known_name(sampler, SAMPLERS), known_name(spacing or "uniform", SPACINGS)
    if not (how and is_count(steps, 1, MAX_STEPS) and (not at or is_count(n, 2, MAX_SAMPLES))):
        raise FastdiffError(
            f"bench.baselines: {text!r}: expected sampler:steps or sampler/spacing:steps, such as ddim:50, "
            "and @n for another number of samples than n"
        )
    for what, name, known in (("sampler", sampler, SAMPLERS), ("spacing", spacing, SPACINGS)):
        if (word := name.partition("[")[0]) not in known:
            raise FastdiffError(unregistered(f"bench.baselines: {text!r}: {what} {word!r}", word, known))
    return (sampler, spacing, int(steps)), int(n) if at else None


def is_count(text: str, least: int, most: int) -> bool:
    """Return whether a text is a whole number from `least` to `most`."""
    return text.isdecimal() and least <= int(text) <= most


# ---- cells ----------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """A model and a way of sampling it: one line of the results table, averaged over seeds."""

    model: str
    sampler: str
    spacing: str
    steps: int
    guidance: float = 1.0
    clip: float | None = None
    n: int | None = None  # number of samples; None: that of the benchmark

    def __str__(self) -> str:
        times = "," in self.spacing and "[" not in self.spacing
        spacing = f"times.{identity(times=self.spacing)[:4]}" if times else self.spacing
        guided = f"-w{self.guidance:g}" if self.guidance != 1 else ""
        clipped = f"-clip{self.clip:g}" if self.clip else ""
        samples = f"-n{self.n}" if self.n else ""
        return f"{self.model}-{self.sampler}-{spacing}-{self.steps}{guided}{clipped}{samples}"


def cells(models: Mapping[str, Denoiser], teacher: str | None, config: BenchConfig) -> list[Cell]:
    """Return the cells of a benchmark, sorted by the number of steps.

    Args:
        models: models by name.
        teacher: name of the model that is measured with the baselines.
        config: settings of the benchmark.
    """
    found: list[Cell] = []
    for name, model in models.items():
        if name == teacher:
            ways = [(way, None) for way in config.ways] + [baseline(text) for text in config.baselines]
        elif config.models is None or name in config.models:
            ways = [(way, None) for way in student_ways(model, config)]
        else:
            continue
        weights = config.guidance or usual_weights(name, models, teacher, config)
        for way, n in dict.fromkeys(ways):
            clip = config.clip or model.sampling.clip
            other = None if n == config.n else n
            found += [Cell(name, *way, guidance, clip, other) for guidance in weights]
    return sorted(found, key=lambda cell: (cell.steps, cell.model != teacher))


def usual_weights(
    name: str, models: Mapping[str, Denoiser], teacher: str | None, config: BenchConfig
) -> tuple[float, ...]:
    """Return the guidance weights of a model where the settings name none.

    Args:
        name: name of the model: a student, or the teacher, which gets the weights of its students.
        models: models by name.
        teacher: name of the teacher.
        config: settings of the benchmark.
    """
    model = models[name]
    students = [other for other in models if other != teacher and other in (config.models or models)]
    if name != teacher or not students:
        return (usual_guidance(model),)
    low, high = model.guidance or (-math.inf, math.inf if model.text or model.null_label is not None else 1.0)
    weights = {usual_guidance(models[student]) for student in students}
    return tuple(sorted(weight for weight in weights if low <= weight <= high)) or (usual_guidance(model),)


def student_ways(model: Denoiser, config: BenchConfig) -> list[Way]:
    """Return how a student is sampled: its own sampler and grid, and those of the settings it supports."""
    own = model.sampling
    counts = own.steps if own.only else config.steps
    ways = [(own.sampler, spacing_text(own.spacing_for(steps)), steps) for steps in counts]
    if config.samplers or config.spacings:
        ways += [way for way in config.ways if accepts(model, *way)]
    return ways


def accepts(model: Denoiser, sampler: str, spacing: str, steps: int) -> bool:
    """Return whether a model can be sampled with a sampler, a spacing and a number of steps."""
    with suppress(FastdiffError):
        plan(model, sampler, steps, spacing)
        return True
    return False


def spacing_text(spacing: str | tuple[float, ...]) -> str:
    """Return a spacing as text: its name, or the times that were searched for the model."""
    return spacing if isinstance(spacing, str) else ",".join(map(repr, spacing))
