"""Samplers: generators (denoise, x, times, **options) -> State, each walking x from times[0] down to times[-1]."""

from collections.abc import Callable, Iterator

from .adaptive import ode23, ode45
from .ancestral import ddim, ddpm
from .few_step import consistency, gamma, overshoot
from .langevin import langevin, predictor_corrector
from .multistep import deis, dpmpp_2m, dpmpp_3m, ipndm, unipc
from .ode import euler, heun
from .sde import dpmpp_2m_sde, edm, euler_ancestral
from .singlestep import dpm_solver
from .state import State
from .time_grids import SPACINGS, time_grid

SAMPLERS: dict[str, Callable[..., Iterator[State]]] = {
    f.__name__: f
    for f in (
        ddpm,
        ddim,
        euler,
        heun,
        dpmpp_2m,
        dpmpp_3m,
        unipc,
        ipndm,
        deis,
        dpm_solver,
        ode23,
        ode45,
        consistency,
        gamma,
        overshoot,
        edm,
        dpmpp_2m_sde,
        euler_ancestral,
        predictor_corrector,
        langevin,
    )
}

__all__ = ["SAMPLERS", "SPACINGS", "State", "time_grid"]
