"""Configurations of diffusers' multistep solvers: DPM-Solver++, UniPC, DEIS."""

import math
from typing import Annotated, Any, ClassVar, Literal, Self

import diffusers
import torch
from pydantic import Field, model_validator
from typing_extensions import override

from ...core.prediction import ratio_of
from ...core.sampling import Sampling
from ...core.validation import Bound
from ..metadata import MAX_STEPS
from .euler_config import InSigma
from .notices import notice
from .table_config import Bounded, with_options

SHORT = 15  # steps below which DPM-Solver++ and DEIS end at a lower order
ALWAYS = MAX_STEPS + 1  # UniPC ends at a lower order on every grid
LOST = 1e-7  # fraction of sigma / alpha that takes the last timestep below a whole number
Order = Annotated[int, Field(ge=1, le=3)]


class Solver(InSigma, Bounded):
    """A multistep solver: its grids leave out the last time before data, and the network's time is whole."""

    solver_order: Order = 2
    lower_order_final: bool = True
    use_lu_lambdas: bool = False
    use_dynamic_shifting: Literal[False] = False
    clip_sample: Literal[False] = False  # of other schedulers: solvers only threshold

    @property
    @override
    def grid_in_sigma(self) -> str:
        return super().grid_in_sigma or ("logsnr" if self.use_lu_lambdas else "")

    @property
    @override
    def between(self) -> str:
        return "log_ratio" if self.grid_in_sigma or self.rescale_betas_zero_snr else "alpha"

    @property
    def start(self) -> float | None:
        """The fraction of the table at which grids of training timesteps start; None for its last entry."""
        return None

    @property
    @override
    def spacing_in_time(self) -> str:
        if self.timestep_spacing == "trailing":
            return with_options("trailing", start=self.start)
        offset = self.steps_offset if self.timestep_spacing == "leading" else 0
        return with_options(self.timestep_spacing, offset=offset, inner=True, start=self.start)

    @property
    @override
    def ends(self) -> tuple[float, float]:
        low, high = super().ends
        if not (self.grid_in_sigma and self.rounding == "floor"):
            return low, high
        # diffusers finds the timesteps in float32, so that some tables lose the last one when it truncates
        theirs = diffusers.DPMSolverMultistepScheduler(
            self.num_train_timesteps,
            self.beta_start,
            self.beta_end,
            self.beta_schedule,
            self.trained_betas and list(self.trained_betas),
            rescale_betas_zero_snr=self.rescale_betas_zero_snr,
            use_exponential_sigmas=True,
        )
        theirs.set_timesteps(2)
        return low, high * (1 - LOST) if theirs.timesteps[0] < self.num_train_timesteps - 1 else high

    @property
    def rounding(self) -> str:
        """The rounding of the network's time on a grid in sigma."""
        rounds = self.use_karras_sigmas or self.use_lu_lambdas
        return "nearest" if rounds and self.beta_schedule != "squaredcos_cap_v2" else "floor"

    @property
    @override
    def kept(self) -> dict[str, Any]:
        return super().kept | ({"time_rounding": self.rounding} if self.grid_in_sigma else {})


class DPMSolver(Solver):
    """The configuration of a DPMSolverMultistepScheduler."""

    algorithm_type: Literal["dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver"] = "dpmsolver++"
    solver_type: Literal["midpoint", "heun"] = "midpoint"
    euler_at_final: bool = False
    lambda_min_clipped: Bound = -math.inf
    noisy: ClassVar[tuple[str, ...]] = ("sde-dpmsolver++", "sde-dpmsolver")

    @property
    @override
    def start(self) -> float | None:
        times = torch.arange(self.num_train_timesteps, 0, -1, dtype=torch.float64)
        beyond = -ratio_of(self.schedule, times).log() < self.lambda_min_clipped
        return 1 - int(beyond.sum()) / self.num_train_timesteps if beyond.any() else None

    @property
    @override
    def sampler(self) -> str:
        below = SHORT if self.lower_order_final else 0
        if self.algorithm_type in self.noisy:
            return "ddim[eta=1.0]" if self.solver_order == 1 else "dpmpp_2m_sde"
        if self.solver_order == 1:
            return "ddim"
        if self.solver_order == 2:
            return with_options("dpmpp_2m", lower_order_below=below)
        return with_options("dpmpp_3m", compat=True, lower_order_below=below)

    @property
    @override
    def sampling(self) -> Sampling:
        noisy = self.algorithm_type in self.noisy
        if not self.algorithm_type.endswith("++"):
            notice(f"scheduler.algorithm_type: {self.algorithm_type} is sampled as {self.algorithm_type}++")
        if self.solver_type == "heun" and self.solver_order > 1:
            notice("scheduler.solver_type: heun is sampled as midpoint")
        if noisy and self.solver_order == 3:
            notice("scheduler.solver_order: 3 is sampled as 2 with sde-dpmsolver++")
        if self.final_sigmas_type == "sigma_min" and self.solver_order > 1 and (noisy or self.euler_at_final):
            notice("scheduler.euler_at_final: the last step before sigma_min is of the solver's order")
        if self.start is not None and self.timestep_spacing == "trailing" and not self.grid_in_sigma:
            notice("scheduler.lambda_min_clipped: a trailing grid keeps its number of steps")
        return super().sampling


class SingleStep(DPMSolver):
    """The configuration of a DPMSolverSinglestepScheduler."""

    stands_in: ClassVar[str] = "DPMSolverSinglestepScheduler"

    @property
    @override
    def sampler(self) -> str:
        return "ddim"


class UniPC(Solver):
    """The configuration of a UniPCMultistepScheduler."""

    solver_type: Literal["bh1", "bh2"] = "bh2"
    predict_x0: bool = True
    disable_corrector: tuple[int, ...] = ()
    solver_p: Any = None

    @property
    @override
    def sampler(self) -> str:
        below = ALWAYS if self.lower_order_final else 0
        solver = None if self.solver_type == "bh2" else self.solver_type
        return with_options("unipc", order=self.solver_order, solver=solver, lower_order_below=below)

    @property
    @override
    def rounding(self) -> str:
        return "nearest" if self.use_karras_sigmas else "floor"

    @property
    @override
    def kept(self) -> dict[str, Any]:
        kept = super().kept
        if self.final_sigmas_type == "sigma_min" and self.grid_in_sigma and self.sigma_min:
            norm = math.hypot(1, self.sigma_min)
            kept["end"] = (1 / norm, self.sigma_min / norm)
        return kept

    @property
    @override
    def sampling(self) -> Sampling:
        for name, usual in (("predict_x0", True), ("disable_corrector", ()), ("solver_p", None)):
            if getattr(self, name) != usual:
                notice(f"scheduler.{name}: {getattr(self, name)!r:.80} is not supported: {usual} is used")
        return super().sampling


class DEIS(Solver):
    """The configuration of a DEISMultistepScheduler, whose grids never end at data."""

    @model_validator(mode="after")
    def ends_at_sigma_min(self) -> Self:
        """Set the end that the scheduler has for every setting."""
        self.final_sigmas_type = "sigma_min"
        return self

    @property
    @override
    def sampler(self) -> str:
        below = SHORT if self.lower_order_final else 0
        return with_options("deis", order=self.solver_order, lower_order_below=below)

    @property
    @override
    def rounding(self) -> str:
        return "nearest" if self.use_karras_sigmas else "floor"
