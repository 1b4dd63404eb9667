"""The way in which a model is meant to be sampled."""

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Sampling:
    """The sampler, grid and step counts of a model: stored with it, and the default of every command.

    Args:
        sampler: a key of SAMPLERS, options in brackets.
        spacing: a key of SPACINGS, options in brackets.
        steps: the step counts that the model was trained for.
        only: whether other step counts and samplers are an error.
        times: grids found for this model, one for each step count, without their last 0.
    """

    sampler: str = "ddim"
    spacing: str = "uniform"
    steps: tuple[int, ...] = (50,)
    only: bool = False
    times: tuple[tuple[float, ...], ...] = ()

    def spacing_for(self, steps: int) -> str | tuple[float, ...]:
        """Return the spacing of `time_grid` for a number of steps: the times found for it, else the name."""
        return next((times for times in self.times if len(times) == steps), self.spacing)

    def with_times(self, times: Iterable[float]) -> "Sampling":
        """Return a copy with this grid for its number of steps; a last 0 may be left out."""
        times = tuple(t for t in map(float, times) if t)
        others = [known for known in self.times if len(known) != len(times)]
        return replace(self, times=tuple(sorted([*others, times], key=len)))
