"""The default sampler, grid and step counts of a model."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

DATA = (1.0, 0.0)  # (alpha, sigma) without noise


@dataclass(frozen=True)
class Sampling:
    """The sampler, grid and step counts of a model: stored with it, and the default of every command.

    Args:
        sampler: a key of SAMPLERS, with options in brackets, such as "ddim[eta=0.5]".
        spacing: a key of SPACINGS, with options in brackets, such as "karras[rho=5]".
        steps: the step counts that the model was trained for; the first is the default.
        only: whether other step counts and samplers are an error.
        times: time grids that `search_times` found, at most one per step count, without their last 0.
        clip: bound of |x0|; None for no bound.
        threshold: quantile of |x0| of dynamic thresholding, which replaces clip; None to turn it off.
        threshold_max: largest bound that the quantile gives; None for no largest.
        keep_eps: where x0 is bounded, DDIM's step keeps the network's eps, as diffusers' DDIMScheduler does.
        end: (alpha, sigma) at which the last step ends; (1, 0) for data.
        variance: variance of ddpm's noise: small, large or learned.
        time_rounding: rounding of the network's time: exact (none), nearest or floor; diffusers'
            DPM-Solver++ and UniPC round it on grids in sigma.
    """

    sampler: str = "ddim"
    spacing: str = "uniform"
    steps: tuple[int, ...] = (50,)
    only: bool = False
    times: tuple[tuple[float, ...], ...] = ()
    clip: float | None = None
    threshold: float | None = None
    threshold_max: float | None = None
    keep_eps: bool = False
    end: tuple[float, float] = DATA
    variance: str = "small"
    time_rounding: str = "exact"

    @property
    def remarks(self) -> list[str]:
        """The settings that the record adds to sampler, grid and step counts, in words."""
        found = []
        if self.threshold is not None:
            largest = "" if self.threshold_max is None else f", at most {self.threshold_max:g}"
            found.append(f"x0 thresholded at its quantile {self.threshold:g}{largest}")
        elif self.clip is not None:
            found.append(f"|x0| at most {self.clip:g}")
        if self.keep_eps:
            found.append("eps kept where x0 is bounded")
        if tuple(self.end) != DATA:
            alpha, sigma = self.end
            found.append(f"ending at alpha {alpha:.6g}, sigma {sigma:.6g}")
        if self.variance != "small":
            found.append(f"ddpm's variance {self.variance}")
        if self.time_rounding != "exact":
            found.append(f"the network's time rounded ({self.time_rounding})")
        return found

    def spacing_for(self, steps: int) -> str | tuple[float, ...]:
        """Return the spacing for a number of steps: the grid in `times` with that length, else `spacing`."""
        return next((times for times in self.times if len(times) == steps), self.spacing)

    def with_times(self, times: Iterable[float]) -> "Sampling":
        """Return a copy that uses a time grid for its number of steps; the last 0 may be left out."""
        times = tuple(t for t in map(float, times) if t)
        others = [known for known in self.times if len(known) != len(times)]
        return replace(self, times=tuple(sorted([*others, times], key=len)))
