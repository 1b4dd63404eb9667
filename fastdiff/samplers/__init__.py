"""Samplers: from noise, a model and a time grid to samples. Of the other wings it imports only core.

A sampler is a generator that takes samples from times[0] down to times[-1]:

    def sampler(denoise, x, times, *, randn=torch.randn_like, **options) -> Iterator[State]

    denoise   a Guided: denoise(x, t, s) is the Prediction at time t for a jump to time s
    x         samples at times[0] (B, ...)
    times     decreasing time grid (steps + 1,), float64 on the CPU; see `time_grid`
    randn     only for stochastic samplers: function from a tensor to standard normal noise of its shape
    options   options of the sampler, set as `sample(model, "ddim", eta=0.5)` or "ddim[eta=0.5]"

It yields a State (t, x, x0) after each step. In the formulas, t is the start of a step and s its end, x0 and
eps are the prediction at t, z is standard normal noise, and (alpha, sigma) are the schedule's. SAMPLERS
contains all samplers by name; `state.traits` gives a new one its properties.

Solvers:
    ancestral     DDPM and DDIM
    ode           Euler and Heun in the schedule's time
    multistep     DPM-Solver++(2M) and (3M), UniPC, iPNDM, DEIS
    singlestep    DPM-Solver in single steps
    exponential   coefficients of multistep and single-step solvers
    sde           EDM's churn, SDE-DPM-Solver++(2M), Euler ancestral
    langevin      annealed Langevin dynamics, predictor-corrector
    few_step      samplers of students that jump: consistency, gamma, overshoot
    adaptive      ode23 and ode45, with a tolerance
    runge_kutta   the adaptive integrator of `adaptive` and `likelihood`

What uses them:
    state         the state that a sampler yields, and the traits of samplers
    time_grids    time grids by name (SPACINGS)
    ratio_grids   those in sigma / alpha
    plan          sampler, time grid and options, checked against a model
    conditions    labels, prompts and condition images of samples
    generate      samples of a model
    edit          images from given images
    inpaint       inpainting with any sampler
    time_search   the search for a model's best time grid
    likelihood    bits per dimension
"""

from collections.abc import Callable, Iterator

from ..core.registry import Registry
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

SAMPLERS: Registry[Callable[..., Iterator[State]]] = Registry(
    {
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
)

__all__ = ["SAMPLERS", "SPACINGS", "State", "time_grid"]
