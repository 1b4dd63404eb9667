"""Samplers of students that jump straight to the data."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from ..guidance import Guided
from .state import State


def consistency(denoise: Guided, x: Tensor, times: Tensor, *,
                randn: Callable[[Tensor], Tensor] = torch.randn_like) -> Iterator[State]:
    """Jump to the data, add fresh noise, repeat (Song et al. 2023, algorithm 1)."""
    for t, s in pairwise(times):
        p = denoise(x, t, torch.zeros_like(s))
        x = denoise.schedule.mix(p.x0, randn(x), s) if s > 0 else p.x0
        yield State(s, x, p.x0)
