"""What a model thinks of x: the pair (x0, eps), solved from the network's output when it is asked for."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from .schedule import blend


class Prediction:
    """What a model thinks of x: clean data x0 and noise eps, with x = alpha x0 + sigma eps exactly.

    x0 and eps may be given as functions, evaluated when first asked for. extra: output channels beyond the data's.
    """

    def __init__(self, x: Tensor, x0: Tensor | Callable[[], Tensor], eps: Tensor | Callable[[], Tensor],
                 extra: Tensor | None = None):
        self.x, self._x0, self._eps, self.extra = x, x0, eps, extra

    @cached_property
    def x0(self) -> Tensor:
        return self._x0() if callable(self._x0) else self._x0

    @cached_property
    def eps(self) -> Tensor:
        return self._eps() if callable(self._eps) else self._eps

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.x0, self.eps))

    def blend(self, a: float, b: float) -> Tensor:
        """a x + b x0."""
        return blend(a, self.x, b, self.x0)


class RawPrediction(Prediction):
    """A prediction that is still the network's output: what a sampler makes of it costs no x0 in between."""

    def __init__(self, x: Tensor, output: Tensor, at: "Solution", extra: Tensor | None = None):
        super().__init__(x, lambda: blend(at.x_x0, x, at.out_x0, output),
                         lambda: blend(at.x_eps, x, at.out_eps, output), extra)
        self.output, self.at = output, at

    def blend(self, a: float, b: float) -> Tensor:
        return blend(a + b * self.at.x_x0, self.x, b * self.at.out_x0, self.output)


class Solution(NamedTuple):
    """What a time makes of a network: x0 = x_x0 x + out_x0 output, eps = x_eps x + out_eps output, its input and time."""

    x_x0: Tensor | float
    out_x0: Tensor | float
    x_eps: Tensor | float
    out_eps: Tensor | float
    scale: Tensor | float
    clock: Tensor | float
