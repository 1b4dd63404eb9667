"""States that samplers yield, and traits: the properties of a sampler that are known before it runs."""

from collections.abc import Callable, Iterator
from inspect import signature
from typing import NamedTuple

from torch import Tensor

from ..core.prediction import Prediction


class State:
    """A batch of samples on its way. Unpacks as (t, x, x0).

    Args:
        t: the time that is reached, 0-dim.
        x: the samples there (B, ...).
        x0: the clean prediction that x came from; a Prediction computes its clean data at first use.
    """

    def __init__(self, t: Tensor, x: Tensor, x0: Tensor | Prediction) -> None:
        self.t = t
        self.x = x
        self._x0 = x0

    @property
    def x0(self) -> Tensor:
        """The clean prediction (B, ...)."""
        return self._x0.x0 if isinstance(self._x0, Prediction) else self._x0

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.t, self.x, self.x0))


class Traits(NamedTuple):
    """Properties of a sampler.

    Args:
        order: order of accuracy, as text.
        nfe: network evaluations of a step, as text.
        noise: when fresh noise is drawn, as text.
        noise_option: an option; the sampler draws fresh noise where it is above 0.
        noise_default: that option's default.
        jumps: whether it evaluates a model only for where to jump, never for the slope at a time.
        adaptive: whether it takes times of its own between the grid's ends.
    """

    order: str
    nfe: str = "1"
    noise: str = "none"
    noise_option: str | None = None
    noise_default: float = 0.0
    jumps: bool = False
    adaptive: bool = False

    def draws_noise(self, options: dict[str, float]) -> bool:
        """Return whether a run with these options draws fresh noise on the way."""
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
    """Return a decorator that gives a sampler its `traits`; see Traits for the arguments."""

    def mark(sampler: Callable) -> Callable:
        if noise_option is None:
            sampler.traits = Traits(order, nfe, noise, jumps=jumps, adaptive=adaptive)
        else:
            default = signature(sampler).parameters[noise_option].default
            when = f"where {noise_option} > 0"
            sampler.traits = Traits(order, nfe, when, noise_option, default, jumps, adaptive)
        return sampler

    return mark
