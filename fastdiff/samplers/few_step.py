"""Samplers of students that jump straight to the data."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from ..guidance import Guided
from ..schedule import blend
from .state import State, traits


@traits(order="jump", noise="every step")
def consistency(denoise: Guided, x: Tensor, times: Tensor, *,
                randn: Callable[[Tensor], Tensor] = torch.randn_like) -> Iterator[State]:
    """Jump to the data, add fresh noise, repeat (Song et al. 2023, algorithm 1)."""
    for (t, s), (alpha_s, sigma_s) in zip(pairwise(times), denoise.schedule.levels(times)[1:], strict=True):
        p = denoise(x, t, torch.zeros_like(s))
        x = blend(alpha_s, p.x0, sigma_s, randn(x)) if sigma_s > 0 else p.x0
        yield State(s, x, p.x0)
