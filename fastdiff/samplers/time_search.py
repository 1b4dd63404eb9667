"""The search for a model's best time grid: coordinate descent by golden section, on the same noise."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError, checked_integer
from ..core.prediction import ratio_of
from ..core.public_arguments import takes_a_model
from .generate import generate
from .plan import plan
from .time_grids import Spacing

GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


class EvaluatedGrid(NamedTuple):
    """A time grid and the metric of its samples.

    Args:
        times: decreasing time grid (steps + 1,).
        value: metric of the samples on this grid.
    """

    times: Tensor
    value: float


@takes_a_model
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
    """Search for the time grid with the smallest metric, and yield each improvement.

        *_, best = fastdiff.search_times(model, steps=4, metric=distance)
        images = fastdiff.sample(model, steps=4, spacing=best.times)
        model.sampling = model.sampling.with_times(best.times)

    The first and the last time are fixed. The others are searched one after the other, each between its
    neighbours by golden section (Kiefer 1953) in the angle atan(sigma / alpha), which is finite at pure noise
    and the same on every schedule. All grids get the same noise, so that the search is deterministic.

    Args:
        model: the model to sample, or what `sample` opens.
        steps: number of steps of the time grid.
        metric: function from samples (n, *image_shape) to a number; smaller is better.
        sampler: a key of SAMPLERS, with options in brackets; None for the model's default.
        spacing: spacing of the first grid, see `time_grid`; None for the model's default.
        n: number of samples per grid.
        seed: seed of the noise.
        cond: condition with one row per sample, see `core.condition`.
        guidance: guidance weight; 1 turns guidance off.
        batch: number of samples in a batch.
        rounds: largest number of rounds over all times; the search ends after a round without improvement.
        tries: number of grids tried per time and round, at least 2.
        options: options of the sampler and of GuidanceOptions, by name.

    Yields:
        An EvaluatedGrid (times (steps + 1,), value): first the grid to start from, then every better grid.
        The last is the best.

    Raises:
        FastdiffError: for a value out of its range, an adaptive sampler, a grid that does not end at 0, and a
            metric that is not finite at the first grid.
    """
    for name, value, least in (("n", n, 1), ("rounds", rounds, 1), ("tries", tries, 2)):
        checked_integer(name, value, least, math.inf)
    first = plan(model, sampler, steps, spacing, options)
    if first.times[-1] > 0 or first.run.traits.adaptive:
        raise FastdiffError("search: expected a grid that ends at 0 and a sampler that is not adaptive")

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
            "the metric of the first grid is not finite: start from another spacing, or correct the metric"
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
    """Yield the values of f at points that converge to a minimum between low and high (Kiefer 1953)."""
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
