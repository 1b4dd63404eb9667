"""Sampling plans: sampler, time grid and options, checked against a model."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError, NotRegistered
from ..core.guidance import GUIDANCE_OPTIONS, GuidanceOptions
from ..core.registry import known_name
from ..core.sampling import DATA
from ..core.validation import check, spelled
from ..core.wording import unregistered
from . import SAMPLERS, SPACINGS, State, time_grid
from .time_grids import Spacing, listed

Sampler = Callable[..., Iterator[State]]
RUN_ARGUMENTS = ("denoise", "x", "times", "randn")  # all other parameters of a sampler are options


@dataclass(frozen=True)
class SamplingPlan:
    """A sampler, a time grid and options that fit a model; see `plan`.

    Args:
        sampler: a key of SAMPLERS, or a sampler function.
        times: decreasing time grid (steps + 1,).
        sampler_options: options of the sampler.
        guidance_options: settings of guidance other than its weight, and bounds of x0.
    """

    sampler: str | Sampler
    times: Tensor
    sampler_options: dict[str, Any] = field(default_factory=dict)
    guidance_options: GuidanceOptions = GuidanceOptions()

    @property
    def run(self) -> Sampler:
        """The sampler as a function."""
        return SAMPLERS[self.sampler] if isinstance(self.sampler, str) else self.sampler


def plan(
    model: Denoiser,
    sampler: str | None = None,
    steps: int | None = None,
    spacing: Spacing | None = None,
    options: Mapping[str, Any] | None = None,
) -> SamplingPlan:
    """Return a plan for sampling a model; arguments that are None are taken from `model.sampling`.

    Args:
        model: the model to sample.
        sampler: a key of SAMPLERS, in any case, with options in brackets.
        steps: number of steps of the time grid.
        spacing: spacing of the time grid, see `time_grid`.
        options: options of the sampler and of GuidanceOptions, by name.

    Raises:
        FastdiffError: for an unknown name, a value out of its range, and a sampler or grid that does not fit
            the model.
    """
    own = model.sampling
    if model.shape is None:
        raise FastdiffError("this model has no sample shape: create it with Denoiser(..., shape=(C, H, W))")
    sampler = known_name(sampler or own.sampler, SAMPLERS)
    steps = own.steps[0] if steps is None else steps
    name, own_options = spelled(sampler, "sampler")
    options = own_options | dict(options or {})
    if name not in SAMPLERS:
        if sampler == own.sampler:
            raise FastdiffError(f"this model {NotRegistered('sampler', name)}")
        raise FastdiffError(unregistered(f"sampler {name!r}", name, SAMPLERS))
    if own.only and (sampler != own.sampler or steps not in own.steps):
        raise FastdiffError(
            f"this model was trained for {own.sampler} at {' or '.join(map(str, own.steps))} steps, "
            f"not for {sampler} at {steps}"
        )
    if model.two_times and not SAMPLERS[name].traits.jumps:
        fit = ", ".join(known for known, run in SAMPLERS.items() if run.traits.jumps)
        raise FastdiffError(
            f"sampler {name} needs the slope at a time, and this model jumps from one time to another: "
            f"choose from {fit}"
        )
    if name != spelled(own.sampler, "sampler")[0]:  # the recorded end and rounding are of its own sampler
        options = {"end": DATA, "time_rounding": "exact"} | options
    guidance_options = GuidanceOptions(**{k: v for k, v in options.items() if k in GUIDANCE_OPTIONS})
    given = {k: v for k, v in options.items() if k not in GUIDANCE_OPTIONS}
    checked = check(SAMPLERS, name, given, f"sampler {name}", skip=RUN_ARGUMENTS)
    times = grid_of(model, sampler, steps, spacing)
    check_start(model, times)
    return SamplingPlan(name, times, {k: checked[k] for k in given}, guidance_options)


def grid_of(model: Denoiser, sampler: str, steps: int, spacing: Spacing | None) -> Tensor:
    """Return the time grid; without a spacing, the model's recorded grid if the sampler is its default."""
    own = model.sampling
    recorded = own.spacing_for(steps) if sampler == own.sampler else own.spacing
    if spacing is None and isinstance(recorded, str) and listed(recorded) is None:
        name, _ = spelled(recorded, "spacing")
        if name not in SPACINGS:
            raise FastdiffError(f"this model {NotRegistered('spacing', name)}")
    times = time_grid(model.schedule, steps, recorded if spacing is None else spacing)
    if own.only and not torch.equal(times, time_grid(model.schedule, steps, recorded)):
        raise FastdiffError(
            f"this model was trained only for the {own.spacing} grid, not for spacing {spacing}"
        )
    return times


def check_start(model: Denoiser, times: Tensor) -> None:
    """Raise FastdiffError if the network's output does not determine x0 and eps at the first time."""
    alpha, sigma = model.schedule.alpha_sigma(times[0])
    a, b = model.output_coefficients(times[0])
    if not 0 < (alpha * b - sigma * a).abs() < float("inf"):
        raise FastdiffError(
            f"a model that predicts {model.predicts} cannot start at t = {times[0]:g} of its schedule, "
            f"where alpha = {alpha:g}: choose spacing karras, or a model that predicts v"
        )
