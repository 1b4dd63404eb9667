"""The configuration of a benchmark, and the cells that it makes."""

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
from ..core.validation import Seed, check_bounds
from ..samplers import SAMPLERS, SPACINGS
from ..samplers.plan import plan
from ..samplers.time_grids import MOST_STEPS
from .baselines import BASELINES
from .metric_names import MAIN_METRICS
from .metrics import METRICS

UNITS = {"s": 1, "m": 60, "h": 3600}
KNOWN_METRICS = (*METRICS, "nll")

Way = tuple[str, str, int]  # sampler with its options, spacing, steps
Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]


@dataclass(frozen=True)
class BenchConfig:
    """The settings of a benchmark: samplers x spacings x steps x guidance x seeds.

    The teacher is sampled in all these ways, and each student in those that it takes. Every student is also
    measured with its own sampler and grid at `steps`; one trained for a single way of sampling has that
    alone. If neither samplers nor spacings are named, the teacher has DDIM on the uniform grid, and students
    their own way alone.

    Args:
        steps: numbers of steps.
        baselines: of the teacher: "sampler:steps" or "sampler/spacing:steps"; options as in ddim[eta=0.5].
        samplers: keys of SAMPLERS, with options.
        spacings: of the time grids, with options.
        guidance: weights of guidance, 1 for none.
        n: samples per cell and seed.
        seeds: of the noise.
        batch: samples at once, on each process.
        extractor: feature networks, separated by commas; None for the usual one of the data.
        teacher: the model that gets the baselines, for recipes; None for the stage that is trained on data.
        models: the students to measure, None for all.
        clip: bound of |x0| while sampling.
        metrics: keys of METRICS and nll; the usual ones if None, or if nll alone is named. nll is the bits
            per dimension of the data's first n examples under each model that is sampled by solving its ODE.
        budget: "90s", "10m" or "2h"; cells that would exceed it are left out.

    Raises:
        FastdiffError: for a setting that is unknown or out of its range.
    """

    steps: tuple[Steps, ...] = (1, 2, 4, 8)
    baselines: tuple[str, ...] = BASELINES
    samplers: tuple[str, ...] = ()
    spacings: tuple[str, ...] = ()
    guidance: float | tuple[float, ...] = (1.0,)
    n: Annotated[int, Field(ge=2, le=10**7)] = 2000
    seeds: tuple[Seed, ...] = (0,)
    batch: Annotated[int, Field(ge=1, le=10**6)] = 512
    extractor: str | None = None
    teacher: str | None = None
    models: tuple[str, ...] | None = None
    clip: Annotated[float, Field(gt=0)] | None = None
    metrics: tuple[Literal[KNOWN_METRICS], ...] | None = None
    budget: str | None = None

    def __post_init__(self) -> None:
        check_bounds(self, "bench")
        if isinstance(self.guidance, int | float):
            object.__setattr__(self, "guidance", (float(self.guidance),))
        for name in ("steps", "seeds", "guidance"):
            if not getattr(self, name):
                raise FastdiffError(f"bench.{name} = []: expected at least one")
        self._check_metrics()
        for name, known in (("samplers", SAMPLERS), ("spacings", SPACINGS)):
            for text in getattr(self, name):
                if text.partition("[")[0] not in known:
                    raise FastdiffError(f"bench.{name}: {text!r} is unknown, choose from {', '.join(known)}")
        for text in self.baselines:
            baseline(text)
        parse_budget(self.budget)

    def _check_metrics(self) -> None:
        named = set(self.metrics or ())
        if unknown := named - set(KNOWN_METRICS):
            raise FastdiffError(
                f"bench.metrics: {min(unknown)!r} is unknown, choose from {', '.join(KNOWN_METRICS)}"
            )
        distances = [metric for metric in METRICS if metric in MAIN_METRICS]
        if named - {"nll"} and not named.intersection(distances):
            raise FastdiffError(
                f"bench.metrics = {list(self.metrics)}: expected a distance among them, by which rows are "
                f"compared: {', '.join(distances)}"
            )

    @property
    def ways(self) -> list[Way]:
        """The product samplers x spacings x steps."""
        return list(product(self.samplers or ("ddim",), self.spacings or ("uniform",), self.steps))

    @property
    def seconds(self) -> float:
        """The budget in seconds, inf if there is none."""
        return parse_budget(self.budget)


def parse_budget(text: str | None) -> float:
    """Return a budget such as "90s", "10m" or "2h" in seconds, inf for None.

    Raises:
        FastdiffError: if it is written in another way.
    """
    if text is None:
        return float("inf")
    parsed = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not parsed:
        raise FastdiffError(f"bench.budget = {text!r}: expected a time such as 90s, 10m or 2h")
    number, unit = parsed.groups()
    return float(number) * UNITS[unit]


def baseline(text: str) -> Way:
    """Parse "ddpm:1000", "dpmpp_2m/karras:8" or "ode45[rtol=0.001]:1".

    Returns:
        the sampler with its options, the spacing and the number of steps.

    Raises:
        FastdiffError: if it is written in another way, or names an unknown sampler or spacing.
    """
    how, _, steps = text.rpartition(":")
    sampler, _, spacing = how.partition("/")
    spacing = spacing or "uniform"
    known = sampler.partition("[")[0] in SAMPLERS and spacing.partition("[")[0] in SPACINGS
    if not (known and steps.isdecimal() and 1 <= int(steps) <= MOST_STEPS):
        raise FastdiffError(
            f"bench.baselines: {text!r}: expected sampler:steps or sampler/spacing:steps with a sampler of "
            f"{', '.join(SAMPLERS)} and a spacing of {', '.join(SPACINGS)}"
        )
    return sampler, spacing, int(steps)


# ---- cells ----------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """A line of the results table before its seeds: a model and how it is sampled."""

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


def cells(models: Mapping[str, Denoiser], teacher: str | None, config: BenchConfig) -> list[Cell]:
    """Return the cells of a benchmark, those of few steps first.

    Args:
        models: the models by name.
        teacher: the name of the one that gets the baselines.
        config: the settings.
    """
    found: list[Cell] = []
    for name, model in models.items():
        if name == teacher:
            ways = config.ways + [baseline(text) for text in config.baselines]
        elif config.models is None or name in config.models:
            ways = student_ways(model, config)
        else:
            continue
        for way in dict.fromkeys(ways):
            found += [Cell(name, *way, guidance, config.clip) for guidance in config.guidance]
    return sorted(found, key=lambda cell: (cell.steps, cell.model != teacher))


def student_ways(model: Denoiser, config: BenchConfig) -> list[Way]:
    """Return the ways in which a student is sampled: its own, and those of the settings that it accepts."""
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
    """Return a spacing as text: its name, or the times that were found for the model."""
    return spacing if isinstance(spacing, str) else ",".join(map(repr, spacing))
