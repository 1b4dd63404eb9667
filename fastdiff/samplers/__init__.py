"""Samplers: from noise, a model and a time grid to samples. Imports core alone, of the wings.

A sampler is a generator (denoise, x, times, **options) -> State that goes from times[0] down to times[-1].
SAMPLERS holds all of them by name.

Solvers:
    ancestral     DDPM and DDIM
    ode           Euler and Heun in the schedule's time
    multistep     DPM-Solver++(2M) and (3M), UniPC, iPNDM, DEIS
    singlestep    DPM-Solver in single steps
    sde           EDM's churn, SDE-DPM-Solver++(2M), Euler ancestral
    langevin      annealed Langevin dynamics, predictor-corrector
    few_step      samplers of students that jump: consistency, gamma, overshoot
    adaptive      ode23 and ode45, by a tolerance
    runge_kutta   the adaptive integrator of `adaptive` and `likelihood`

Around them:
    state         the state that a sampler yields, and its traits
    time_grids    time grids by name (SPACINGS)
    plan          sampler, grid and options, checked against a model
    generate      samples of a model, by a plan or by name
    edit          images from images
    inpaint       a known region kept by any sampler
    time_search   the search for a model's best grid
    likelihood    bits per dimension
"""

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
