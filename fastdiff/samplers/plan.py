"""Plans of how to sample a model: sampler, time grid and options, checked against the model."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.guidance import GUIDANCE_OPTIONS, GuidanceOptions
from ..core.validation import check, spelled
from . import SAMPLERS, State, time_grid
from .time_grids import Spacing

Sampler = Callable[..., Iterator[State]]
RUN_ARGUMENTS = ("denoise", "x", "times", "randn")  # given by a run; a sampler's other parameters are options


@dataclass(frozen=True)
class SamplingPlan:
    """A way to sample a model: made once by `plan`, checked against the model, and passed on whole.

    Args:
        sampler: a key of SAMPLERS, or a sampler itself.
        times: the grid (steps + 1,), decreasing.
        sampler_options: the sampler's own options.
        guidance_options: settings of guidance besides its weight, and bounds of x0.
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
    """Return a plan for sampling a model. An argument that is None is taken from the model's own sampling.

    Args:
        model: the model to sample.
        sampler: a key of SAMPLERS, options in brackets.
        steps: steps of the grid.
        spacing: of the grid, see `time_grid`.
        options: options of the sampler and of GuidanceOptions, by name.

    Raises:
        FastdiffError: for an unknown name, a value out of its range, and a sampler or grid that does not fit
            the model.
    """
    own = model.sampling
    if model.shape is None:
        raise FastdiffError(
            "this model does not say the shape of a sample: make it with Denoiser(..., shape=(C, H, W))"
        )
    sampler = sampler or own.sampler
    steps = own.steps[0] if steps is None else steps
    name, own_options = spelled(sampler, "sampler")
    options = own_options | dict(options or {})
    if name not in SAMPLERS:
        raise FastdiffError(f"sampler {name!r} is unknown, choose from {', '.join(SAMPLERS)}")
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
    guidance_options = GuidanceOptions(**{k: v for k, v in options.items() if k in GUIDANCE_OPTIONS})
    given = {k: v for k, v in options.items() if k not in GUIDANCE_OPTIONS}
    checked = check(SAMPLERS, name, given, f"sampler {name}", skip=RUN_ARGUMENTS)
    times = grid_of(model, sampler, steps, spacing)
    check_start(model, times)
    return SamplingPlan(name, times, {k: checked[k] for k in given}, guidance_options)


def grid_of(model: Denoiser, sampler: str, steps: int, spacing: Spacing | None) -> Tensor:
    """Return the time grid, the model's own for its own sampler where no spacing is given."""
    own = model.sampling
    recorded = own.spacing_for(steps) if sampler == own.sampler else own.spacing
    times = time_grid(model.schedule, steps, recorded if spacing is None else spacing)
    if own.only and not torch.equal(times, time_grid(model.schedule, steps, recorded)):
        raise FastdiffError(
            f"this model was trained for the {own.spacing} grid alone, not for spacing {spacing}"
        )
    return times


def check_start(model: Denoiser, times: Tensor) -> None:
    """Raise FastdiffError if x0 and eps do not follow from the network's output at the grid's first time."""
    alpha, sigma = model.schedule.alpha_sigma(times[0])
    a, b = model.output_coefficients(times[0])
    if not 0 < (alpha * b - sigma * a).abs() < float("inf"):
        raise FastdiffError(
            f"a model that predicts {model.predicts} cannot start at t = {times[0]:g} of its schedule, "
            f"where alpha = {alpha:g}: choose spacing karras, or a model that predicts v"
        )
