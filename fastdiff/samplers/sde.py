"""Stochastic solvers: fresh noise corrects the errors of earlier steps."""

from collections.abc import Iterator
from itertools import pairwise
from math import inf, isfinite, log, sqrt

import torch
from torch import Tensor

from ..core.broadcast import blend
from ..core.errors import FastdiffError
from ..core.guidance import Guided
from ..core.prediction import ratio_of
from ..core.schedule import Schedule
from ..core.validation import Bound
from .ancestral import Randn, ddim
from .state import State, traits


def raised(schedule: Schedule, times: Tensor, factor: float, low: float, high: float) -> Tensor:
    """Return the times at which sigma / alpha is `factor` times larger, at most t_max.

    Times whose sigma / alpha is not in [low, high] are returned as they are.
    """
    ratio = ratio_of(schedule, times)
    within = (ratio >= low) & (ratio <= high) & ratio.isfinite()
    return torch.where(within, schedule.time_of(factor * ratio).clamp(max=schedule.t_max), times)


@traits(order="2", nfe="2, from alpha = 0 or into data 1", noise_option="churn")
def edm(
    denoise: Guided,
    x: Tensor,
    times: Tensor,
    *,
    churn: float = 0.0,
    churn_min: float = 0.0,
    churn_max: Bound = inf,
    noise_scale: float = 1.0,
    randn: Randn = torch.randn_like,
) -> Iterator[State]:
    """EDM: Heun's method on x / alpha in sigma / alpha, with churn (Karras et al. 2022, algorithm 2).

    Euler's step goes to x_s = alpha_s x0 + sigma_s eps, and the correction to x_s + c (eps at x_s - eps),
    with c = (sigma_s - alpha_s sigma / alpha) / 2. A step from alpha = 0 or into data is a step of DDIM.

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        churn: amount of noise added over all steps (S_churn): before a step sigma / alpha grows by the factor
            1 + churn / steps, at most sqrt(2), and not above that at t_max. 0 is deterministic.
        churn_min: least sigma / alpha at which noise is added.
        churn_max: largest sigma / alpha at which noise is added.
        noise_scale: factor of the added noise (S_noise).
        randn: function from a tensor to standard normal noise of its shape.

    Yields:
        A State (t, x, x0) after each step.
    """
    schedule = denoise.schedule
    levels = schedule.levels(times)
    starts = times[:-1]
    growth = min(churn / (len(times) - 1), sqrt(2) - 1)
    peaks = raised(schedule, starts, 1 + growth, churn_min, churn_max) if churn > 0 else starts
    for (t, s), peak, (alpha_t, sigma_t), (alpha, sigma), (alpha_s, sigma_s) in zip(
        pairwise(times), peaks, levels[:-1], schedule.levels(peaks), levels[1:], strict=True
    ):
        if peak > t:
            keep = alpha / alpha_t  # churn diffuses forward, from t to the peak
            x = blend(keep, x, noise_scale * sqrt(sigma**2 - (keep * sigma_t) ** 2), randn(x))
        p = denoise(x, peak, s)
        x = p.combine(x0=alpha_s, eps=sigma_s)
        if sigma_s > 0 and alpha > 0:
            q = denoise(x, s, s)
            c = (sigma_s - alpha_s * sigma / alpha) / 2
            x = q.combine(x0=alpha_s, eps=sigma_s + c).add_(p.combine(x0=0.0, eps=-c))
        yield State(s, x, p)


@traits(order="2", noise_option="eta")
def dpmpp_2m_sde(
    denoise: Guided, x: Tensor, times: Tensor, *, eta: float = 1.0, randn: Randn = torch.randn_like
) -> Iterator[State]:
    """SDE-DPM-Solver++(2M) in the midpoint form (Lu et al. 2022b, appendix).

    With D as in dpmpp_2m and h the gain in log(alpha / sigma),

        x_s = sigma_s / sigma_t exp(-eta h) x_t + alpha_s (1 - exp(-(1 + eta) h)) D
              + sigma_s sqrt(1 - exp(-2 eta h)) z

    It is of first order on the first and the last step, and on the second step after a start at alpha = 0.

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        eta: amount of noise, at least 0; 0 is dpmpp_2m, 1 is the reverse SDE.
        randn: function from a tensor to standard normal noise of its shape.

    Yields:
        A State (t, x, x0) after each step.

    Raises:
        FastdiffError: for a negative eta.
    """
    if not eta >= 0:
        raise FastdiffError(f"sampler dpmpp_2m_sde: eta = {eta}: expected at least 0")
    levels = denoise.schedule.levels(times)
    last_x0 = x
    last_h = inf
    for (t, s), ((alpha_t, sigma_t), (alpha_s, sigma_s)) in zip(
        pairwise(times), pairwise(levels), strict=True
    ):
        p = denoise(x, t, s)
        fall = sigma_s * alpha_t / (alpha_s * sigma_t)  # exp(-h), which is 0 from pure noise and into data
        h = -log(fall) if fall else inf
        x0 = p.x0
        if isfinite(h) and isfinite(last_h):
            x0 = blend(1 + h / (2 * last_h), x0, -h / (2 * last_h), last_x0)
        x = blend(sigma_s / sigma_t * fall**eta, p.x, alpha_s * (1 - fall ** (1 + eta)), x0)
        if eta > 0 and sigma_s > 0:
            x = x.add_(randn(x), alpha=sigma_s * sqrt(1 - fall ** (2 * eta)))
        last_x0 = p.x0
        last_h = h
        yield State(s, x, p)


@traits(order="1", noise_option="eta", jumps=True)
def euler_ancestral(
    denoise: Guided, x: Tensor, times: Tensor, *, eta: float = 1.0, randn: Randn = torch.randn_like
) -> Iterator[State]:
    """Euler ancestral of k-diffusion: Euler to below the next level, then noise up to it; the same as ddim.

    x_s = alpha_s x0 + down eps + up z, with up = eta sigma_s sqrt(1 - (ratio_s / ratio_t)^2), at most
    sigma_s, and down^2 = sigma_s^2 - up^2.

    Args:
        denoise: the model with its condition and guidance, usually a Guided.
        x: samples at times[0] (B, ...).
        times: decreasing time grid (steps + 1,), float64 on the CPU.
        eta: amount of noise, at least 0, as in ddim.
        randn: function from a tensor to standard normal noise of its shape.

    Yields:
        A State (t, x, x0) after each step.
    """
    return ddim(denoise, x, times, eta=eta, randn=randn)
