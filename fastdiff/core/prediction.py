"""Predictions (x0, eps), and the tables of what a network predicts and of what it takes as its time."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from .broadcast import blend
from .schedule import Schedule

Levels = tuple[Tensor | float, Tensor | float]  # (alpha, sigma)

# What a network sees as its time, by name: (t, schedule) -> Tensor. A stored model names one of these.
TIME_INPUTS: dict[str, Callable[[Tensor, Schedule], Tensor]] = {
    # DDPM's 0..999, whatever the schedule's own clock
    "timestep": lambda t, schedule: schedule.timesteps * t / schedule.t_max - 1,
    "thousand": lambda t, schedule: 1000 * t,  # flow-matching transformers
    "time": lambda t, schedule: t,
    "edm": lambda t, schedule: log_ratio(schedule, t) / 4,
    "cm": lambda t, schedule: 250 * log_ratio(schedule, t),  # what diffusers' consistency scheduler sends
}


class Prediction:
    """A model's prediction at x: clean data `x0` and noise `eps`, with x = alpha x0 + sigma eps exactly.

    Args:
        x: the noised samples (B, ...).
        x0: clean data of the same shape, or a function that returns it at first use.
        eps: noise of the same shape, or a function that returns it at first use.
        extra: output channels beyond the data's, None if there are none.
        levels: (alpha, sigma) of x, if known: `combine` then needs no eps.
    """

    def __init__(
        self,
        x: Tensor,
        x0: Tensor | Callable[[], Tensor],
        eps: Tensor | Callable[[], Tensor],
        extra: Tensor | None = None,
        levels: Levels | None = None,
    ) -> None:
        self.x = x
        self.extra = extra
        self.levels = levels
        self._x0 = x0
        self._eps = eps

    @cached_property
    def x0(self) -> Tensor:
        """Clean data (B, ...)."""
        return self._x0() if callable(self._x0) else self._x0

    @cached_property
    def eps(self) -> Tensor:
        """Noise (B, ...)."""
        return self._eps() if callable(self._eps) else self._eps

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.x0, self.eps))

    def blend(self, a: float, b: float) -> Tensor:
        """Return a x + b x0."""
        return blend(a, self.x, b, self.x0)

    def combine(self, x0: float, eps: float) -> Tensor:
        """Return x0 times the clean data plus eps times the noise, in two passes over memory."""
        if self.levels is None:
            return blend(x0, self.x0, eps, self.eps)
        alpha, sigma = self.levels
        share = eps / sigma  # the noise is (x - alpha x0) / sigma
        return self.blend(share, x0 - share * alpha)


class RawPrediction(Prediction):
    """A prediction kept as the network's output, so that a sampler's update needs no x0 in between."""

    def __init__(self, x: Tensor, output: Tensor, at: "Solution", extra: Tensor | None = None) -> None:
        super().__init__(
            x,
            lambda: blend(at.x_x0, x, at.out_x0, output),
            lambda: blend(at.x_eps, x, at.out_eps, output),
            extra,
            (at.alpha, at.sigma),
        )
        self.output = output
        self.at = at

    @override
    def blend(self, a: float, b: float) -> Tensor:
        return blend(a + b * self.at.x_x0, self.x, b * self.at.out_x0, self.output)


class Solution(NamedTuple):
    """The coefficients at one time t that turn x and the network's output into (x0, eps).

    x0 = x_x0 x + out_x0 output and eps = x_eps x + out_eps output. The network takes scale x, and clock as
    its time; x is at (alpha, sigma). Numbers for a 0-dim t, tensors (B,) for a t of each sample.
    """

    x_x0: Tensor | float
    out_x0: Tensor | float
    x_eps: Tensor | float
    out_eps: Tensor | float
    scale: Tensor | float
    clock: Tensor | float
    alpha: Tensor | float
    sigma: Tensor | float


def ratio_of(schedule: Schedule, t: Tensor) -> Tensor:
    """Return sigma / alpha at time t."""
    alpha, sigma = schedule.alpha_sigma(t)
    return sigma / alpha


def log_ratio(schedule: Schedule, t: Tensor) -> Tensor:
    """Return log(sigma / alpha), bounded below, since a network of two times also takes t = 0."""
    return ratio_of(schedule, t).clamp(min=1e-5).log()


# A prediction type is a row (a, b): the network's output is a(t) x0 + b(t) eps. (schedule, t, sigma_data) ->
# a, b
ROWS: dict[str, Callable[[Schedule, Tensor, float], tuple[Tensor, Tensor]]] = {
    "x0": lambda schedule, t, sigma_data: (torch.ones_like(t), torch.zeros_like(t)),
    "eps": lambda schedule, t, sigma_data: (torch.zeros_like(t), torch.ones_like(t)),
    "v": lambda schedule, t, sigma_data: v_row(schedule, t),
    "velocity": lambda schedule, t, sigma_data: schedule.rates(t),
    "edm": lambda schedule, t, sigma_data: edm_row(schedule, t, sigma_data),
    "cm": lambda schedule, t, sigma_data: cm_row(schedule, t, sigma_data),
    "lcm_eps": lambda schedule, t, sigma_data: lcm_row(schedule, t, sigma_data, ROWS["eps"]),
    "lcm_v": lambda schedule, t, sigma_data: lcm_row(schedule, t, sigma_data, ROWS["v"]),
}


SIGMA_MIN = 0.002  # of consistency models: below, they are the identity


LCM_SCALE = 10  # by which LCM multiplies its timesteps


LEAST = 1e-12  # that x0 owes to the network, where it owes it nothing: a row has no zeros


def v_row(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return (a, b) of v = alpha eps - sigma x0 (Salimans & Ho 2022, appendix D)."""
    alpha, sigma = schedule.alpha_sigma(t)
    return -sigma, alpha


def edm_row(schedule: Schedule, t: Tensor, sigma_data: float) -> tuple[Tensor, Tensor]:
    """Return (a, b) of EDM's F in any schedule's coordinates (Karras et al. 2022, equation 7)."""
    alpha, sigma = schedule.alpha_sigma(t)
    norm = (sigma**2 + (sigma_data * alpha) ** 2).sqrt()
    return sigma / (sigma_data * norm), -sigma_data * alpha / norm


def cm_row(schedule: Schedule, t: Tensor, sigma_data: float) -> tuple[Tensor, Tensor]:
    """Return (a, b) of F in x0 = c_skip x + c_out F, which is x at SIGMA_MIN.

    Song et al. 2023, appendix C.
    """
    alpha, _ = schedule.alpha_sigma(t)
    ratio = ratio_of(schedule, t)
    above = (ratio - SIGMA_MIN).clamp(min=0)
    skip = sigma_data**2 / (above**2 + sigma_data**2)
    return implied_row(schedule, t, skip / alpha, sigma_data * above / (ratio**2 + sigma_data**2).sqrt())


def lcm_row(schedule: Schedule, t: Tensor, sigma_data: float, inner: Callable) -> tuple[Tensor, Tensor]:
    """Return (a, b) of LCM's x0 = c_skip x + c_out (x0 of the inner type), by the timestep.

    Luo et al. 2023, section 4.
    """
    at = LCM_SCALE * TIME_INPUTS["timestep"](t, schedule).clamp(min=0)
    skip, out = sigma_data**2 / (at**2 + sigma_data**2), at / (at**2 + sigma_data**2).sqrt()
    (alpha, sigma), (a, b) = schedule.alpha_sigma(t), inner(schedule, t, sigma_data)
    det = alpha * b - sigma * a
    return implied_row(schedule, t, skip + out * b / det, -out * sigma / det)


def implied_row(schedule: Schedule, t: Tensor, skip: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """Return (a, b) of the output in x0 = skip x + out output."""
    alpha, sigma = schedule.alpha_sigma(t)
    out = torch.where(out.abs() < LEAST, LEAST, out)
    return (1 - alpha * skip) / out, -sigma * skip / out
