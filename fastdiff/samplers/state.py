"""State: what a sampler yields after each step."""

from typing import NamedTuple

from torch import Tensor


class State(NamedTuple):
    """The time reached, the sample there, and the clean prediction it came from."""

    t: Tensor
    x: Tensor
    x0: Tensor
