"""Configurations of diffusers' schedulers on a table of betas: schedule, prediction and default sampling."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

import diffusers
import torch
from pydantic import BaseModel, Field, model_validator
from torch import nn
from typing_extensions import override

from ...core.denoiser import Denoiser
from ...core.prediction import ratio_of
from ...core.sampling import DATA, Sampling
from ...core.schedule import DDPM
from ...core.validation import Finite
from ..diffusers_names import DIFFUSERS_BETAS, DIFFUSERS_NAMES
from ..metadata import MAX_STEPS
from .components import fitted
from .notices import notice

Positive = Annotated[Finite, Field(gt=0)]
Count = Annotated[int, Field(ge=1, le=MAX_STEPS)]
VARIANCES = {
    "fixed_small": "small",
    "fixed_small_log": "small",
    "fixed_large": "large",
    "fixed_large_log": "large",
    "learned_range": "learned",
}


class Table(BaseModel):
    """The configuration of a scheduler with a table of betas, on which the network was trained.

    Subclasses are the kinds of schedulers. Settings that change the pictures are fields; a value that is not
    supported is an error, or a notice where a near sampler takes its place.
    """

    num_train_timesteps: Count = 1000
    beta_start: Finite = 1e-4
    beta_end: Finite = 2e-2
    beta_schedule: Literal[tuple(DIFFUSERS_BETAS.values())] = "linear"
    trained_betas: tuple[Finite, ...] | None = None
    rescale_betas_zero_snr: bool = False
    prediction_type: Literal[tuple(DIFFUSERS_NAMES.values())] = "epsilon"
    timestep_spacing: Literal["leading", "trailing", "linspace"] = "leading"
    steps_offset: Annotated[int, Field(ge=0, le=MAX_STEPS)] = 0
    use_flow_sigmas: Literal[False] = False
    timestep_type: Literal["discrete"] = "discrete"
    stands_in: ClassVar[str] = ""  # the scheduler whose steps are not supported, so that DDIM takes its place

    @property
    def between(self) -> str:
        """The quantity that the scheduler interpolates between the entries of its table, see `DDPM`."""
        return "alpha"

    @property
    def schedule(self) -> DDPM:
        """The noise schedule of the table."""
        kind = {name: key for key, name in DIFFUSERS_BETAS.items()}[self.beta_schedule]
        return DDPM(
            float(self.num_train_timesteps),
            self.beta_start,
            self.beta_end,
            self.trained_betas or (),
            kind,
            self.rescale_betas_zero_snr,
            self.between,
        )

    @property
    def predicts(self) -> str:
        """The network's prediction, a key of PREDICTION_TYPES."""
        return {theirs: ours for ours, theirs in DIFFUSERS_NAMES.items()}[self.prediction_type]

    @property
    def ends(self) -> tuple[float, float]:
        """The sigma / alpha of the table's first entry and of its last."""
        times = torch.tensor([1.0, self.num_train_timesteps], dtype=torch.float64)
        return tuple(ratio_of(self.schedule, times).tolist())

    def end(self, data: bool) -> tuple[float, float]:
        """Return the (alpha, sigma) at which the last step ends: data, or the table's first entry."""
        ratio = self.ends[0]
        norm = math.hypot(1, ratio)
        return DATA if data else (1 / norm, ratio / norm)

    @property
    def sampler(self) -> str:
        """The sampler that takes the scheduler's steps."""
        return "ddim"

    @property
    def spacing(self) -> str:
        """The spacing of the scheduler's grids."""
        options = {"offset": self.steps_offset} if self.timestep_spacing == "leading" else {}
        return with_options(self.timestep_spacing, **options)

    @property
    def kept(self) -> dict[str, Any]:
        """The further fields of Sampling that follow from the configuration."""
        return {}

    @property
    def sampling(self) -> Sampling:
        """The default sampling: the scheduler's own steps on its own grids."""
        if self.stands_in:
            notice(f"scheduler: the steps of {self.stands_in} are not supported: ddim takes their place")
        return Sampling(self.sampler, self.spacing, (min(50, self.num_train_timesteps),), **self.kept)

    def model(self, net: nn.Module, shape: tuple[int, ...], steps: int = 0, **parts: Any) -> Denoiser:
        """Return a model with a network that was trained on this table.

        Args:
            net: the network.
            shape: shape of one sample.
            steps: default number of steps of the pipeline; 0 for the scheduler's.
            parts: further arguments of Denoiser.

        Raises:
            ValueError: for a table without finite levels.
        """
        schedule = self.schedule
        check_levels(schedule)
        model = Denoiser(net, schedule, self.predicts, shape, sampling=self.sampling, **parts)
        if steps:
            model.sampling = replace(model.sampling, steps=(min(steps, self.num_train_timesteps),))
        return fitted(model)


class Bounded(Table):
    """A scheduler that bounds x0: by thresholding, or by clipping if that is off."""

    clip_sample: bool = False
    clip_sample_range: Positive = 1.0
    thresholding: bool = False
    dynamic_thresholding_ratio: Finite = 0.995
    sample_max_value: Finite = 1.0

    @model_validator(mode="after")
    def thresholds_are_possible(self) -> Self:
        """Raise ValueError for a quantile or a largest bound that thresholding does not take."""
        ratio, largest = self.dynamic_thresholding_ratio, self.sample_max_value
        if self.thresholding and not (0 < ratio < 1 and largest >= 1):
            raise ValueError(
                f"thresholding with dynamic_thresholding_ratio = {ratio} and sample_max_value = {largest}: "
                "expected a ratio between 0 and 1, and a value of at least 1"
            )
        return self

    @property
    @override
    def kept(self) -> dict[str, Any]:
        if self.thresholding:
            return {"threshold": self.dynamic_thresholding_ratio, "threshold_max": self.sample_max_value}
        return {"clip": self.clip_sample_range} if self.clip_sample else {}


class Ancestral(Bounded):
    """The configuration of a DDPMScheduler."""

    variance_type: Literal[tuple(VARIANCES)] = "fixed_small"

    @property
    @override
    def sampler(self) -> str:
        return "ddpm"

    @property
    @override
    def kept(self) -> dict[str, Any]:
        bounds = super().kept  # ddpm does not use eps, but with ddim the same model keeps it
        return {**bounds, "keep_eps": bool(bounds), "variance": VARIANCES[self.variance_type]}

    @property
    @override
    def sampling(self) -> Sampling:
        if VARIANCES[self.variance_type] != "small" and (
            self.timestep_spacing == "trailing" or self.timestep_spacing == "leading" and self.steps_offset
        ):
            notice(
                f"scheduler.variance_type: with {self.variance_type} DDPMScheduler adds noise after its last "
                "timestep, which is not 0 on this grid; here the last step ends at data"
            )
        return super().sampling


class Deterministic(Bounded):
    """The configuration of a DDIMScheduler, which keeps the network's eps where it bounds x0."""

    set_alpha_to_one: bool = True

    @property
    @override
    def kept(self) -> dict[str, Any]:
        bounds = super().kept
        return {**bounds, "keep_eps": bool(bounds), "end": self.end(self.set_alpha_to_one)}

    @property
    @override
    def sampling(self) -> Sampling:
        if self.timestep_spacing == "linspace":
            notice(
                "scheduler.timestep_spacing: DDIMScheduler steps past its own times with linspace; here the "
                "steps end at the times"
            )
        return super().sampling


class PseudoLinear(Table):
    """The configuration of a PNDMScheduler."""

    set_alpha_to_one: bool = False
    stands_in: ClassVar[str] = "PNDMScheduler"

    @property
    @override
    def kept(self) -> dict[str, Any]:
        return {"end": self.end(self.set_alpha_to_one)}


class LatentConsistency(Bounded):
    """The configuration of an LCMScheduler, for latent consistency models (Luo et al. 2023)."""

    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"
    original_inference_steps: Count = 50
    timestep_scaling: Literal[10] = 10

    @property
    @override
    def predicts(self) -> str:
        return f"lcm_{super().predicts}"

    @property
    @override
    def sampling(self) -> Sampling:
        return few_steps("consistency", self, **self.kept)

    @override
    def model(self, net: nn.Module, shape: tuple[int, ...], steps: int = 0, **parts: Any) -> Denoiser:
        return super().model(net, shape, sigma_data=0.5, **parts)


class Trajectory(Table):
    """The configuration of a TCDScheduler, which pipelines call with an eta of 0, as DDIM.

    Its last step always ends at the table's first entry.
    """

    original_inference_steps: Count = 50

    @property
    @override
    def sampling(self) -> Sampling:
        return few_steps("ddim", self, end=self.end(False))


def few_steps(sampler: str, settings: LatentConsistency | Trajectory, **kept: Any) -> Sampling:
    """Return a sampling on the grids of LCMScheduler for few steps, of which TCDScheduler has the same."""
    scheduler = diffusers.LCMScheduler(
        settings.num_train_timesteps, original_inference_steps=settings.original_inference_steps
    )
    steps = tuple(n for n in (4, 1, 2, 8) if n <= settings.original_inference_steps)
    sampling = Sampling(sampler, "trailing", steps, **kept)
    return on_grids(sampling, scheduler, lambda: scheduler.timesteps + 1)


def on_grids(sampling: Sampling, scheduler: Any, times: Callable[[], Iterable[float]]) -> Sampling:
    """Return a sampling with the time grids of a scheduler.

    Args:
        sampling: the sampler and the numbers of steps.
        scheduler: a scheduler of diffusers.
        times: function that returns fastdiff's times of the grid that the scheduler is currently set to.
    """
    for steps in sampling.steps:
        scheduler.set_timesteps(steps)
        sampling = sampling.with_times(times())
    return sampling


def with_options(name: str, **options: Any) -> str:
    """Return a sampler or spacing with those of its options that are neither None nor 0, as text."""
    words = [f"{key}={value}" for key, value in options.items() if value is False or value]
    return f"{name}[{','.join(words)}]" if words else name


def check_levels(schedule: DDPM) -> None:
    """Raise ValueError for a table whose alpha does not fall from its first entry to its last."""
    falls = schedule.table.diff()
    if not (falls.isfinite() & (falls <= 0)).all() or not (falls[1:] < 0).all():
        raise ValueError(
            f"scheduler: {schedule}: its betas give noise levels that do not rise from entry to entry"
        )
