"""States that samplers yield, and traits: properties of a sampler that are known before it runs."""

from collections.abc import Callable, Iterator
from inspect import signature
from typing import NamedTuple

from torch import Tensor

from ..core.prediction import Prediction


class State:
    """A batch of samples after a step of a sampler; it unpacks as (t, x, x0).

    Args:
        t: time that the step reached, 0-dim.
        x: samples at that time (B, ...).
        x0: clean prediction from which x was computed (B, ...), or a Prediction that computes it when used.
    """

    def __init__(self, t: Tensor, x: Tensor, x0: Tensor | Prediction) -> None:
        self.t = t
        self.x = x
        self._x0 = x0

    @property
    def x0(self) -> Tensor:
        """The clean prediction from which x was computed (B, ...)."""
        return self._x0.x0 if isinstance(self._x0, Prediction) else self._x0

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.t, self.x, self.x0))


class Traits(NamedTuple):
    """Properties of a sampler that are known before it runs.

    Args:
        order: order of accuracy, as text.
        nfe: number of network evaluations per step, as text.
        noise: the steps at which fresh noise is drawn, as text.
        noise_option: name of the option above 0 of which the sampler draws fresh noise; None if it has none.
        noise_default: default of that option.
        jumps: whether the sampler only uses predictions for a jump from t to s, never the slope at a time.
        adaptive: whether the sampler chooses its own times between the ends of the grid.
    """

    order: str
    nfe: str = "1"
    noise: str = "none"
    noise_option: str | None = None
    noise_default: float = 0.0
    jumps: bool = False
    adaptive: bool = False

    def draws_noise(self, options: dict[str, float]) -> bool:
        """Return whether a run with these options draws fresh noise between its steps."""
        if self.noise_option is not None:
            return options.get(self.noise_option, self.noise_default) > 0
        return self.noise != "none"


def traits(
    order: str,
    nfe: str = "1",
    noise: str = "none",
    noise_option: str | None = None,
    jumps: bool = False,
    adaptive: bool = False,
) -> Callable[[Callable], Callable]:
    """Return a decorator that sets a sampler's `traits`; see Traits for the arguments."""

    def mark(sampler: Callable) -> Callable:
        if noise_option is None:
            sampler.traits = Traits(order, nfe, noise, jumps=jumps, adaptive=adaptive)
        else:
            default = signature(sampler).parameters[noise_option].default
            when = f"where {noise_option} > 0"
            sampler.traits = Traits(order, nfe, when, noise_option, default, jumps, adaptive)
        return sampler

    return mark
