"""What a sampler yields, and what is known of it before it runs."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class State(NamedTuple):
    """The time reached, the sample there, and the clean prediction it came from."""

    t: Tensor
    x: Tensor
    x0: Tensor


def traits(order: str, nfe: str = "1", noise: str = "none") -> Callable[[Callable], Callable]:
    """What `fastdiff list samplers` says: order of accuracy, network evaluations a step, when fresh noise is drawn."""

    def mark(sampler: Callable) -> Callable:
        sampler.traits = {"order": order, "nfe": nfe, "noise": noise}
        return sampler

    return mark
