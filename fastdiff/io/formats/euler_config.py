"""Configurations of diffusers' schedulers in sigma / alpha: Euler's, and those with the same grids."""

from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator
from typing_extensions import override

from ...core.sampling import DATA, Sampling
from .notices import notice
from .table_config import Positive, Table, with_options


class InSigma(Table):
    """A scheduler that can take its grid in sigma / alpha: Karras', exponential, or a beta distribution's."""

    use_karras_sigmas: bool = False
    use_exponential_sigmas: bool = False
    use_beta_sigmas: bool = False
    sigma_min: Positive | None = None
    sigma_max: Positive | None = None
    final_sigmas_type: Literal["zero", "sigma_min"] = "zero"

    @model_validator(mode="after")
    def one_grid(self) -> Self:
        """Raise ValueError for more than one grid in sigma."""
        if self.use_karras_sigmas + self.use_exponential_sigmas + self.use_beta_sigmas > 1:
            raise ValueError(
                "use_karras_sigmas, use_exponential_sigmas and use_beta_sigmas: expected at most one of them"
            )
        return self

    @property
    def grid_in_sigma(self) -> str:
        """The name of the grid in sigma / alpha; "" for one of training timesteps."""
        if self.use_karras_sigmas:
            return "karras"
        if self.use_exponential_sigmas:
            return "logsnr"
        return "beta" if self.use_beta_sigmas else ""

    @property
    @override
    def spacing(self) -> str:
        if not self.grid_in_sigma:
            return self.spacing_in_time
        low, high = self.ends
        return with_options(
            self.grid_in_sigma, ratio_min=self.sigma_min or low, ratio_max=self.sigma_max or high
        )

    @property
    def spacing_in_time(self) -> str:
        """The spacing of a grid of training timesteps."""
        return super().spacing

    @property
    @override
    def kept(self) -> dict[str, Any]:
        return {**super().kept, "end": self.end(self.final_sigmas_type == "zero")}


class Euler(InSigma):
    """The configuration of an EulerDiscreteScheduler, whose steps are those of DDIM."""

    interpolation_type: Literal["linear"] = "linear"

    @override
    def end(self, data: bool) -> tuple[float, float]:  # in units of alpha = 1, as all of its levels
        return DATA if data else (1.0, self.ends[0])

    @property
    @override
    def between(self) -> str:
        return "log_ratio" if self.grid_in_sigma else "ratio"

    @property
    @override
    def spacing_in_time(self) -> str:
        if self.timestep_spacing == "linspace":
            return with_options("linspace", rounded=False)
        return super().spacing_in_time

    @property
    @override
    def sampling(self) -> Sampling:
        if self.grid_in_sigma and self.timestep_spacing != "linspace":
            notice(
                f"scheduler.timestep_spacing: {self.timestep_spacing} moves the ends of a grid in sigma with "
                "the number of steps; here they are those of linspace"
            )
        return super().sampling


class EulerAncestral(Euler):
    """The configuration of an EulerAncestralDiscreteScheduler."""

    @property
    @override
    def sampler(self) -> str:
        return "euler_ancestral"


class Heun(Euler):
    """The configuration of a HeunDiscreteScheduler, whose steps are those of EDM without churn."""

    clip_sample: bool = False
    clip_sample_range: Positive = 1.0

    @property
    @override
    def sampler(self) -> str:
        return "edm"

    @property
    @override
    def kept(self) -> dict[str, Any]:
        return super().kept | ({"clip": self.clip_sample_range} if self.clip_sample else {})


class LinearMultistep(Euler):
    """The configuration of an LMSDiscreteScheduler."""

    stands_in: ClassVar[str] = "LMSDiscreteScheduler"


class SecondOrder(Euler):
    """The configuration of a KDPM2DiscreteScheduler or KDPM2AncestralDiscreteScheduler."""

    stands_in: ClassVar[str] = "KDPM2DiscreteScheduler"
