"""Linear multistep solvers: one evaluation a step, memory of the steps before."""

from collections.abc import Iterator
from itertools import pairwise
from math import expm1, isfinite

from torch import Tensor

from ..guidance import Guided
from ..schedule import Schedule, blend
from .state import State, traits


def log_snr_steps(schedule: Schedule, times: Tensor) -> list[float]:
    """log(alpha / sigma) gained by each step of a grid: infinite from pure noise, and into data."""
    alpha, sigma = schedule.alpha_sigma(times)
    return (alpha / sigma).log().diff().tolist()


@traits(order="2")
def dpmpp_2m(denoise: Guided, x: Tensor, times: Tensor) -> Iterator[State]:
    """DPM-Solver++(2M), midpoint form (Lu et al. 2022, algorithm 2).

    First order on the first and last step, and on the second after a start at alpha = 0, whose log-SNR is infinite.
    """
    levels, last_x0, last_h = denoise.schedule.levels(times), None, 0.0
    for (t, s), h, ((_, sigma_t), (alpha_s, sigma_s)) in zip(
            pairwise(times), log_snr_steps(denoise.schedule, times), pairwise(levels), strict=True):
        p = denoise(x, t, s)
        x0 = p.x0
        if last_x0 is not None and isfinite(last_h) and isfinite(h):
            x0 = blend(1 + h / (2 * last_h), x0, -h / (2 * last_h), last_x0)
        x = blend(sigma_s / sigma_t, p.x, -alpha_s * expm1(-h), x0)
        last_x0, last_h = p.x0, h
        yield State(s, x, p.x0)
