"""Configurations of diffusers' schedulers, read as fastdiff's schedule, prediction and sampling."""

import math
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import diffusers
from pydantic import BaseModel

from ...core.errors import FastdiffError
from ...core.files import read_object
from ...core.sampling import Sampling
from ...core.validation import Finite, validate
from .components import component_dir
from .euler_config import Euler, EulerAncestral, Heun, LinearMultistep, SecondOrder
from .solver_config import DEIS, DPMSolver, SingleStep, UniPC
from .table_config import (
    Ancestral,
    Count,
    Deterministic,
    LatentConsistency,
    Positive,
    PseudoLinear,
    Table,
    Trajectory,
    on_grids,
)


class ConsistencyModel(BaseModel):
    """The configuration of a CMStochasticIterativeScheduler, for consistency models (Song et al. 2023)."""

    num_train_timesteps: Count = 40
    sigma_min: Literal[0.002] = 0.002
    sigma_max: Positive = 80.0
    sigma_data: Positive = 0.5
    s_noise: Literal[1] = 1
    rho: Positive = 7.0
    clip_denoised: bool = True

    @property
    def sampling(self) -> Sampling:
        """The default sampling: jumps to the data on the scheduler's own grids."""
        scheduler = diffusers.CMStochasticIterativeScheduler(
            self.num_train_timesteps, self.sigma_min, self.sigma_max, self.sigma_data, rho=self.rho
        )
        steps = tuple(n for n in (1, 2, 4) if n <= self.num_train_timesteps)
        sampling = Sampling("consistency", "karras", steps, clip=1.0 if self.clip_denoised else None)
        return on_grids(sampling, scheduler, lambda: scheduler.sigmas[:-1])


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
    use_karras_sigmas: Literal[False, None] = False
    use_exponential_sigmas: Literal[False, None] = False
    use_beta_sigmas: Literal[False, None] = False

    def shift_of(self, patches: int) -> float:
        """Return the shift for an image with a number of patches.

        Raises:
            ValueError: for settings of dynamic shifting that give no finite shift above 0.
        """
        if not self.use_dynamic_shifting:
            return self.shift
        lengths = self.max_image_seq_len - self.base_image_seq_len
        try:
            mu = self.base_shift + (patches - self.base_image_seq_len) / lengths * (
                self.max_shift - self.base_shift
            )
            shift = math.exp(mu) if self.time_shift_type == "exponential" else mu
        except (ArithmeticError, TypeError):
            shift = math.inf
        if not 0 < shift < math.inf:
            raise ValueError(
                f"scheduler: use_dynamic_shifting with base_shift = {self.base_shift}, max_shift = "
                f"{self.max_shift}, base_image_seq_len = {self.base_image_seq_len} and max_image_seq_len = "
                f"{self.max_image_seq_len} gives no shift above 0 for {patches} patches"
            )
        return shift

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


# Class of a scheduler in diffusers -> its settings, for each kind of network.
TABLE_SETTINGS: dict[str, type[Table]] = {
    "DDPMScheduler": Ancestral,
    "DDIMScheduler": Deterministic,
    "PNDMScheduler": PseudoLinear,
    "LMSDiscreteScheduler": LinearMultistep,
    "EulerDiscreteScheduler": Euler,
    "EulerAncestralDiscreteScheduler": EulerAncestral,
    "HeunDiscreteScheduler": Heun,
    "KDPM2DiscreteScheduler": SecondOrder,
    "KDPM2AncestralDiscreteScheduler": SecondOrder,
    "DPMSolverMultistepScheduler": DPMSolver,
    "DPMSolverSinglestepScheduler": SingleStep,
    "DEISMultistepScheduler": DEIS,
    "UniPCMultistepScheduler": UniPC,
    "TCDScheduler": Trajectory,
    "LCMScheduler": LatentConsistency,
}
CONSISTENCY_SETTINGS = {"CMStochasticIterativeScheduler": ConsistencyModel}
FLOW_SETTINGS = {"FlowMatchEulerDiscreteScheduler": FlowMatching}


def scheduler_settings(
    folder: Path, known: dict[str, type[BaseModel]], kind: str | None = None, **replaced: Any
) -> Any:
    """Return the settings of a pipeline's scheduler.

    Args:
        folder: the pipeline's folder.
        known: class of a scheduler in diffusers -> type of its settings.
        kind: class of the scheduler that the pipeline makes of any other; None for the scheduler's own.
        replaced: settings that the pipeline replaces, by name.

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
    name = kind or name
    parameters = signature(getattr(diffusers, name).__init__).parameters
    defaults = {key: p.default for key, p in parameters.items() if p.default is not p.empty}
    present = {key: value for key, value in (config | replaced).items() if key in parameters}
    return validate(known[name], defaults | present, "scheduler")
