"""The configuration of a benchmark, and the cells that it makes."""

import re
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

from ..core.errors import FastdiffError
from ..core.files import identity
from ..samplers import SAMPLERS, SPACINGS
from ..samplers.time_grids import MOST_STEPS
from .metric_names import MAIN
from .metrics import METRICS

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

    def __post_init__(self) -> None:
        for what, least, most in (("n", 2, 10**7), ("batch", 1, 10**6)):
            if not least <= getattr(self, what) <= most:
                raise FastdiffError(
                    f"bench.{what} = {getattr(self, what)}: expected at least {least}, and at most {most}"
                )
        if not self.steps or min(self.steps) < 1 or max(self.steps) > MOST_STEPS:
            raise FastdiffError(
                f"bench.steps = {list(self.steps)}: expected step counts of at least 1, and at most "
                f"{MOST_STEPS}"
            )
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
            raise FastdiffError(
                f"bench.metrics: {min(unknown)!r} is unknown, choose from {', '.join(METRICS)}, nll"
            )
        distances = [metric for metric in METRICS if metric in MAIN]
        if (named := set(self.metrics or ()) - {"nll"}) and not named.intersection(distances):
            raise FastdiffError(
                f"bench.metrics = {list(self.metrics)}: expected a distance among them, by which rows are "
                f"compared: {', '.join(distances)}"
            )
        for what, known in (("samplers", SAMPLERS), ("spacings", SPACINGS)):
            for text in getattr(self, what):
                if text.partition("[")[0] not in known:
                    raise FastdiffError(f"bench.{what}: {text!r} is unknown, choose from {', '.join(known)}")
        for text in self.baselines:
            baseline(text)
        self.seconds  # noqa: B018 - complains of a budget it cannot read

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
    """ "ddpm:1000", "dpmpp_2m/karras:8" or "ode45[rtol=0.001]:1" -> sampler with its options, spacing, steps."""
    how, _, steps = text.rpartition(":")
    sampler, _, spacing = how.partition("/")
    name = sampler.partition("[")[0]
    grid = (spacing or "uniform").partition("[")[0]
    if (
        name not in SAMPLERS
        or grid not in SPACINGS
        or not steps.isdecimal()
        or not 1 <= int(steps) <= MOST_STEPS
    ):
        raise FastdiffError(
            f"bench.baselines: {text!r}: expected sampler:steps or sampler/spacing:steps with a sampler of "
            f"{', '.join(SAMPLERS)} and a spacing of {', '.join(SPACINGS)}"
        )
    return sampler, spacing or "uniform", int(steps)
