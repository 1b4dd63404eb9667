"""Configurations of diffusers' schedulers, read as fastdiff's schedule, prediction and sampling."""

import math
from collections.abc import Callable, Iterable
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal

import diffusers
from pydantic import BaseModel, Field
from torch import nn
from typing_extensions import override

from ...core.denoiser import Denoiser
from ...core.errors import FastdiffError
from ...core.files import read_object
from ...core.sampling import Sampling
from ...core.schedule import DDPM
from ...core.validation import Finite, validate
from ..diffusers_names import DIFFUSERS_BETAS, DIFFUSERS_NAMES
from ..metadata import MAX_STEPS
from .components import component_dir, fitted

# Name of a spacing in diffusers -> the nearest spacing of fastdiff.
SPACINGS = {"leading": "leading", "trailing": "trailing", "linspace": "uniform"}
Positive = Annotated[Finite, Field(gt=0)]
Count = Annotated[int, Field(ge=1, le=MAX_STEPS)]


class Table(BaseModel):
    """The configuration of a scheduler with a table of betas, on which the network was trained."""

    num_train_timesteps: Count = 1000
    beta_start: Finite = 1e-4
    beta_end: Finite = 2e-2
    beta_schedule: Literal[tuple(DIFFUSERS_BETAS.values())] = "linear"
    trained_betas: tuple[Finite, ...] | None = None
    rescale_betas_zero_snr: bool = False
    prediction_type: Literal[tuple(DIFFUSERS_NAMES.values())] = "epsilon"
    timestep_spacing: Literal[tuple(SPACINGS)] = "leading"
    steps_offset: Annotated[int, Field(ge=0, le=MAX_STEPS)] = 0
    use_flow_sigmas: Literal[False] = False
    timestep_type: Literal["discrete"] = "discrete"

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
        )

    @property
    def predicts(self) -> str:
        """The network's prediction, a key of PREDICTION_TYPES."""
        return {theirs: ours for ours, theirs in DIFFUSERS_NAMES.items()}[self.prediction_type]

    @property
    def sampling(self) -> Sampling:
        """The default sampling: DDIM on the grid of this spacing."""
        spacing = SPACINGS[self.timestep_spacing]
        if self.timestep_spacing == "leading" and self.steps_offset:
            spacing += f"[offset={self.steps_offset}]"
        return Sampling("ddim", spacing, (min(50, self.num_train_timesteps),))

    def model(self, net: nn.Module, shape: tuple[int, ...], **parts: Any) -> Denoiser:
        """Return a model with a network that was trained on this table.

        Args:
            net: the network.
            shape: shape of one sample.
            parts: further arguments of Denoiser.
        """
        return fitted(Denoiser(net, self.schedule, self.predicts, shape, sampling=self.sampling, **parts))


class LatentConsistency(Table):
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
        scheduler = diffusers.LCMScheduler(
            self.num_train_timesteps, original_inference_steps=self.original_inference_steps
        )
        steps = tuple(n for n in (4, 1, 2, 8) if n <= self.original_inference_steps)
        return on_grids(
            Sampling("consistency", "trailing", steps), scheduler, lambda: scheduler.timesteps + 1
        )

    @override
    def model(self, net: nn.Module, shape: tuple[int, ...], **parts: Any) -> Denoiser:
        return super().model(net, shape, sigma_data=0.5, **parts)


class ConsistencyModel(BaseModel):
    """The configuration of a CMStochasticIterativeScheduler, for consistency models (Song et al. 2023)."""

    num_train_timesteps: Count = 40
    sigma_min: Literal[0.002] = 0.002
    sigma_max: Positive = 80.0
    sigma_data: Positive = 0.5
    s_noise: Literal[1] = 1
    rho: Positive = 7.0

    @property
    def sampling(self) -> Sampling:
        """The default sampling: jumps to the data on the scheduler's own grids."""
        scheduler = diffusers.CMStochasticIterativeScheduler(
            self.num_train_timesteps, self.sigma_min, self.sigma_max, self.sigma_data, rho=self.rho
        )
        steps = tuple(n for n in (1, 2, 4) if n <= self.num_train_timesteps)
        return on_grids(Sampling("consistency", "karras", steps), scheduler, lambda: scheduler.sigmas[:-1])


class FlowMatching(BaseModel):
    """The configuration of a FlowMatchEulerDiscreteScheduler, whose shift adds noise for larger images."""

    num_train_timesteps: Literal[1000] = 1000
    shift: Positive = 1.0
    use_dynamic_shifting: bool = False
    base_shift: Finite | None = 0.5
    max_shift: Finite | None = 1.15
    base_image_seq_len: Count = 256
    max_image_seq_len: Count = 4096
    time_shift_type: Literal["exponential", "linear"] = "exponential"
    shift_terminal: None = None
    invert_sigmas: Literal[False] = False
    stochastic_sampling: Literal[False] = False

    def shift_of(self, patches: int) -> float:
        """Return the shift for an image with a number of patches."""
        if not self.use_dynamic_shifting:
            return self.shift
        fraction = (patches - self.base_image_seq_len) / (self.max_image_seq_len - self.base_image_seq_len)
        mu = self.base_shift + fraction * (self.max_shift - self.base_shift)
        return math.exp(mu) if self.time_shift_type == "exponential" else mu

    def sampling(self, patches: int) -> Sampling:
        """Return the sampling of Flux: Euler's method on shifted times."""
        return Sampling("euler", f"shifted[shift={self.shift_of(patches)!r}]", (28,))

    def sampling_to_sigma_min(self, patches: int) -> Sampling:
        """Return the sampling of Stable Diffusion 3: Euler's method on times that end at the table's end."""
        shift = self.shift_of(patches)
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
        if self.use_dynamic_shifting:  # then the table itself is not shifted
            scheduler.sigma_min = 1 / self.num_train_timesteps
        return on_grids(self.sampling(patches), scheduler, lambda: scheduler.sigmas)


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


# Class of a scheduler in diffusers -> its settings, for each kind of network.
TABLE_SETTINGS: dict[str, type[Table]] = {
    f"{name}Scheduler": Table
    for name in (
        "DDPM",
        "DDIM",
        "PNDM",
        "LMSDiscrete",
        "EulerDiscrete",
        "EulerAncestralDiscrete",
        "HeunDiscrete",
        "KDPM2Discrete",
        "KDPM2AncestralDiscrete",
        "DPMSolverMultistep",
        "DPMSolverSinglestep",
        "DEISMultistep",
        "UniPCMultistep",
        "TCD",
    )
}
TABLE_SETTINGS["LCMScheduler"] = LatentConsistency
CONSISTENCY_SETTINGS = {"CMStochasticIterativeScheduler": ConsistencyModel}
FLOW_SETTINGS = {"FlowMatchEulerDiscreteScheduler": FlowMatching}


def scheduler_settings(folder: Path, known: dict[str, type[BaseModel]]) -> Any:
    """Return the settings of a pipeline's scheduler.

    Args:
        folder: the pipeline's folder.
        known: class of a scheduler in diffusers -> type of its settings.

    Returns:
        An instance of one of the types. Unknown keys, from other versions of diffusers, are ignored.

    Raises:
        FastdiffError: for another scheduler, and for a setting that is not supported.
    """
    config = read_object(component_dir(folder, "scheduler") / "scheduler_config.json")
    name = config.get("_class_name", next(iter(known)))
    if not isinstance(name, str) or name not in known:
        raise FastdiffError(
            f"scheduler: this {name!r:.80} is not supported for this network, expected one of "
            f"{', '.join(known)}"
        )
    parameters = signature(getattr(diffusers, name).__init__).parameters
    defaults = {key: p.default for key, p in parameters.items() if p.default is not p.empty}
    return validate(known[name], {**defaults, **config}, "scheduler")
