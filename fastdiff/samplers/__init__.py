"""Samplers: generators (denoise, x, times, **options) -> State, each walking x from times[0] down to times[-1]."""

from collections.abc import Callable, Iterator

from .ancestral import ddim, ddpm
from .few_step import consistency
from .grids import SPACINGS, time_grid
from .multistep import dpmpp_2m
from .ode import euler, heun
from .state import State

SAMPLERS: dict[str, Callable[..., Iterator[State]]] = {
    f.__name__: f for f in (ddpm, ddim, euler, heun, dpmpp_2m, consistency)
}

__all__ = ["SAMPLERS", "SPACINGS", "State", "time_grid"]
