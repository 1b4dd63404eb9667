"""The default sampler, grid and step counts of a model."""

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Sampling:
    """The sampler, grid and step counts of a model: stored with it, and the default of every command.

    Args:
        sampler: a key of SAMPLERS, with options in brackets, such as "ddim[eta=0.5]".
        spacing: a key of SPACINGS, with options in brackets, such as "karras[rho=5]".
        steps: the step counts that the model was trained for; the first is the default.
        only: whether other step counts and samplers are an error.
        times: time grids that `search_times` found, at most one per step count, without their last 0.
    """

    sampler: str = "ddim"
    spacing: str = "uniform"
    steps: tuple[int, ...] = (50,)
    only: bool = False
    times: tuple[tuple[float, ...], ...] = ()

    def spacing_for(self, steps: int) -> str | tuple[float, ...]:
        """Return the spacing for a number of steps: the grid in `times` with that length, else `spacing`."""
        return next((times for times in self.times if len(times) == steps), self.spacing)

    def with_times(self, times: Iterable[float]) -> "Sampling":
        """Return a copy that uses a time grid for its number of steps; the last 0 may be left out."""
        times = tuple(t for t in map(float, times) if t)
        others = [known for known in self.times if len(known) != len(times)]
        return replace(self, times=tuple(sorted([*others, times], key=len)))
