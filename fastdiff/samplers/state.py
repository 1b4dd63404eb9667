"""What a sampler yields, and what is known of it before it runs."""

from collections.abc import Callable, Iterator

from torch import Tensor

from ..core.denoiser import Prediction


class State:
    """The time reached, the sample x there, and the clean prediction x0 it came from; unpacks as (t, x, x0)."""

    def __init__(self, t: Tensor, x: Tensor, x0: Tensor | Prediction):
        self.t, self.x, self._x0 = t, x, x0

    @property
    def x0(self) -> Tensor:
        return (
            self._x0.x0 if isinstance(self._x0, Prediction) else self._x0
        )  # a prediction's x0 is made when asked for

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.t, self.x, self.x0))


def traits(
    order: str, nfe: str = "1", noise: str = "none", *, jumps: bool = False, adaptive: bool = False
) -> Callable[[Callable], Callable]:
    """What is known of a sampler: order of accuracy, network evaluations a step, when fresh noise is drawn.

    jumps: it asks where a model jumps to, never for a slope. adaptive: it takes times of its own between the
    grid's ends.
    """

    def mark(sampler: Callable) -> Callable:
        sampler.traits = {"order": order, "nfe": nfe, "noise": noise, "jumps": jumps, "adaptive": adaptive}
        return sampler

    return mark
