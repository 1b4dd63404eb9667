"""The search for a model's best time grid: one time after another, by golden section, on the same noise."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError
from ..core.prediction import ratio_of
from .generate import generate
from .plan import plan
from .time_grids import Spacing

GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


class EvaluatedGrid(NamedTuple):
    """A time grid and its metric.

    Args:
        times: the grid (steps + 1,).
        value: the metric of the samples that it gives.
    """

    times: Tensor
    value: float


def search_times(
    model: Denoiser,
    steps: int,
    metric: Callable[[Tensor], float],
    *,
    sampler: str | None = None,
    spacing: Spacing | None = None,
    n: int = 512,
    seed: int = 0,
    cond: Cond = None,
    guidance: float = 1.0,
    batch: int = 512,
    rounds: int = 3,
    tries: int = 10,
    **options: Any,
) -> Iterator[EvaluatedGrid]:
    """Yield time grids of ever smaller metric, the one it starts from first; the last is the best.

    The first and last time stay. A time is searched between its neighbours by its angle atan(sigma / alpha):
    finite at pure noise, and the same on every schedule. Each grid gets the same noise, so the search is
    deterministic.

    Args:
        model: the model to sample.
        steps: steps of the grid.
        metric: from samples 0 to n - 1 of the seed, (n, *image_shape), to a number; less is better.
        sampler: a key of SAMPLERS, options in brackets; None for the model's own.
        spacing: of the first grid, see `time_grid`; None for the model's own.
        n: number of samples.
        seed: of the noise.
        cond: condition of the samples, a row for each.
        guidance: weight of guidance, 1 for none.
        batch: samples at once.
        rounds: most rounds over all times; a round that changes nothing is the last.
        tries: grids that are tried for a time in a round.
        options: options of the sampler and of GuidanceOptions, by name.

    Raises:
        FastdiffError: for a value out of its range, for an adaptive sampler or a grid that does not end at 0,
            and for a metric that is not finite at the first grid.
    """
    for name, value, least in (("n", n, 1), ("rounds", rounds, 1), ("tries", tries, 2)):
        if value < least:
            raise FastdiffError(f"{name} = {value}: expected at least {least}", key=name)
    first = plan(model, sampler, steps, spacing, options)
    if first.times[-1] > 0 or first.run.traits.adaptive:
        raise FastdiffError("search: expected a grid that ends at 0 and a sampler that walks it")

    def evaluated(times: Tensor) -> EvaluatedGrid:
        made = generate(
            model,
            replace(first, times=times),
            torch.arange(n),
            seed=seed,
            cond=cond,
            guidance=guidance,
            batch=batch,
        )
        value = float(metric(torch.cat([part.x for part in made])))
        return EvaluatedGrid(times, math.inf if math.isnan(value) else value)

    def moved(times: Tensor, i: int, angle: float) -> EvaluatedGrid:
        ratio = torch.tensor(math.tan(angle), dtype=torch.float64)
        return evaluated(torch.cat([times[:i], model.schedule.time_of(ratio)[None], times[i + 1 :]]))

    best = evaluated(first.times)
    if best.value == math.inf:
        raise FastdiffError(
            "the metric of the first grid is not finite: start from another spacing, or mend the metric"
        )
    yield best
    for _ in range(rounds):
        before = best
        for i in range(1, steps):
            angles = ratio_of(model.schedule, best.times).atan().tolist()
            for tried in golden_section(partial(moved, best.times, i), angles[i + 1], angles[i - 1], tries):
                if tried.value < best.value:
                    best = tried
                    yield best
        if best is before:
            return


def golden_section(
    f: Callable[[float], EvaluatedGrid], low: float, high: float, tries: int
) -> Iterator[EvaluatedGrid]:
    """Yield f at points between low and high that close in on a minimum (Kiefer 1953)."""
    left = high - GOLDEN_RATIO * (high - low)
    right = low + GOLDEN_RATIO * (high - low)
    at_left = f(left)
    at_right = f(right)
    yield from (at_left, at_right)
    for _ in range(tries - 2):
        if at_left.value <= at_right.value:
            high = right
            right = left
            at_right = at_left
            left = high - GOLDEN_RATIO * (high - low)
            at_left = f(left)
            yield at_left
        else:
            low = left
            left = right
            at_left = at_right
            right = low + GOLDEN_RATIO * (high - low)
            at_right = f(right)
            yield at_right
