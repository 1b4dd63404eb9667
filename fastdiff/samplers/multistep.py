"""Linear multistep solvers: one evaluation a step, memory of the steps before."""

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor

from ..guidance import Guided
from .state import State


def dpmpp_2m(denoise: Guided, x: Tensor, times: Tensor) -> Iterator[State]:
    """DPM-Solver++(2M), midpoint form (Lu et al. 2022, algorithm 2).

    First order on the first and last step, and on the second after a start at alpha = 0, whose log-SNR is infinite.
    """
    schedule = denoise.schedule
    last_x0 = last_h = None
    for t, s in pairwise(times):
        p = denoise(x, t, s)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
        h = (alpha_s / sigma_s).log() - (alpha_t / sigma_t).log()     # infinite from pure noise and into data
        x0 = p.x0
        if last_x0 is not None and s > 0 and last_h.isfinite():
            x0 = x0 + (x0 - last_x0) * (h / (2 * last_h))
        decay = alpha_t / alpha_s * sigma_s / sigma_t
        x = sigma_s / sigma_t * x + alpha_s * (1 - decay) * x0
        last_x0, last_h = p.x0, h
        yield State(s, x, p.x0)
