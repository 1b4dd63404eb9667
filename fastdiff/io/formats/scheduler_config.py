"""Schedulers of diffusers, as their configurations describe them: schedules, grids and ways of sampling of ours."""

import math
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal

import diffusers
from pydantic import BaseModel, Field
from torch import nn

from ...core.denoiser import Denoiser
from ...core.errors import FastdiffError
from ...core.files import read_object
from ...core.sampling import Sampling
from ...core.schedule import DDPM
from ...core.validation import Finite, validate
from ..diffusers_names import DIFFUSERS_BETAS, DIFFUSERS_NAMES
from ..metadata import MOST
from .components import fitted, part

SPACINGS = {
    "leading": "leading",
    "trailing": "trailing",
    "linspace": "uniform",
}  # theirs by ours, the nearest
Above = Annotated[Finite, Field(gt=0)]
Count = Annotated[int, Field(ge=1, le=MOST)]


class Table(BaseModel):
    """What a network was trained on with a table of betas, whatever the scheduler's way of sampling."""

    num_train_timesteps: Count = 1000
    beta_start: Finite = 1e-4
    beta_end: Finite = 2e-2
    beta_schedule: Literal[tuple(DIFFUSERS_BETAS.values())] = "linear"
    trained_betas: tuple[Finite, ...] | None = None
    rescale_betas_zero_snr: bool = False
    prediction_type: Literal[tuple(DIFFUSERS_NAMES.values())] = "epsilon"
    timestep_spacing: Literal[tuple(SPACINGS)] = "leading"
    steps_offset: Annotated[int, Field(ge=0, le=MOST)] = 0
    use_flow_sigmas: Literal[False] = False
    timestep_type: Literal["discrete"] = "discrete"

    @property
    def schedule(self) -> DDPM:
        kind = {theirs: ours for ours, theirs in DIFFUSERS_BETAS.items()}[self.beta_schedule]
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
        return {theirs: ours for ours, theirs in DIFFUSERS_NAMES.items()}[self.prediction_type]

    @property
    def sampling(self) -> Sampling:
        """DDIM on the grid of this spacing."""
        offset = (
            f"[offset={self.steps_offset}]"
            if self.timestep_spacing == "leading" and self.steps_offset
            else ""
        )
        return Sampling(
            "ddim", SPACINGS[self.timestep_spacing] + offset, (min(50, self.num_train_timesteps),)
        )

    def model(self, net: nn.Module, shape: tuple[int, ...], **parts: Any) -> Denoiser:
        """The network as a model; parts: of Denoiser."""
        return fitted(Denoiser(net, self.schedule, self.predicts, shape, sampling=self.sampling, **parts))


class LatentConsistency(Table):
    """LCMScheduler: a table, and a network that jumps to the data in few steps."""

    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"
    original_inference_steps: Count = 50
    timestep_scaling: Literal[10] = 10

    @property
    def predicts(self) -> str:
        return f"lcm_{super().predicts}"

    @property
    def sampling(self) -> Sampling:
        scheduler = diffusers.LCMScheduler(
            self.num_train_timesteps, original_inference_steps=self.original_inference_steps
        )
        steps = tuple(n for n in (4, 1, 2, 8) if n <= self.original_inference_steps)
        return on_grids(
            Sampling("consistency", "trailing", steps), scheduler, lambda: scheduler.timesteps + 1
        )

    def model(self, net: nn.Module, shape: tuple[int, ...], **parts: Any) -> Denoiser:
        return super().model(net, shape, sigma_data=0.5, **parts)


class Consistency(BaseModel):
    """CMStochasticIterativeScheduler."""

    num_train_timesteps: Count = 40
    sigma_min: Literal[0.002] = 0.002
    sigma_max: Above = 80.0
    sigma_data: Above = 0.5
    s_noise: Literal[1] = 1
    rho: Above = 7.0

    @property
    def sampling(self) -> Sampling:
        scheduler = diffusers.CMStochasticIterativeScheduler(
            self.num_train_timesteps, self.sigma_min, self.sigma_max, self.sigma_data, rho=self.rho
        )
        steps = tuple(n for n in (1, 2, 4) if n <= self.num_train_timesteps)
        return on_grids(Sampling("consistency", "karras", steps), scheduler, lambda: scheduler.sigmas[:-1])


class FlowMatching(BaseModel):
    """FlowMatchEulerDiscreteScheduler: Euler's method, with more noise at every t for larger pictures."""

    num_train_timesteps: Literal[1000] = 1000
    shift: Above = 1.0
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
        """The shift for a picture of that many patches."""
        if not self.use_dynamic_shifting:
            return self.shift
        share = (patches - self.base_image_seq_len) / (self.max_image_seq_len - self.base_image_seq_len)
        mu = self.base_shift + share * (self.max_shift - self.base_shift)
        return math.exp(mu) if self.time_shift_type == "exponential" else mu

    def sampling(self, patches: int) -> Sampling:
        """Euler on shifted times, as Flux has them."""
        return Sampling("euler", f"shifted[shift={self.shift_of(patches)!r}]", (28,))

    def sampling_to_sigma_min(self, patches: int) -> Sampling:
        """The same as Stable Diffusion 3 has them: the last step but one ends where the scheduler's table does."""
        shift = self.shift_of(patches)
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
        if self.use_dynamic_shifting:  # whose table is not shifted itself
            scheduler.sigma_min = 1 / self.num_train_timesteps
        return on_grids(self.sampling(patches), scheduler, lambda: scheduler.sigmas)


def on_grids(sampling: Sampling, scheduler: Any, times: Any) -> Sampling:
    """The same with the very grids of a scheduler; times: of its grid."""
    for steps in sampling.steps:
        scheduler.set_timesteps(steps)
        sampling = sampling.with_times(times())
    return sampling


# The schedulers that a network of a kind comes with, and what each says of it.
TABLES: dict[str, type[Table]] = {
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
TABLES["LCMScheduler"] = LatentConsistency
JUMPS = {"CMStochasticIterativeScheduler": Consistency}
FLOWS = {"FlowMatchEulerDiscreteScheduler": FlowMatching}


def described(folder: Path, known: dict[str, type[BaseModel]]) -> Any:
    """What a pipeline's scheduler, one of those known, says; keys that are not known are of other versions."""
    said = read_object(part(folder, "scheduler") / "scheduler_config.json")
    name = said.get("_class_name", next(iter(known)))
    if not isinstance(name, str) or name not in known:
        raise FastdiffError(f"scheduler: this {name!r:.80} is not supported here, only {', '.join(known)}")
    parameters = signature(getattr(diffusers, name).__init__).parameters
    usual = {key: p.default for key, p in parameters.items() if p.default is not p.empty}
    return validate(known[name], usual | said, "scheduler")
