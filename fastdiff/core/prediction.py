"""Predictions (x0, eps), and two tables: the prediction types and the time inputs of networks."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from .broadcast import blend
from .errors import FastdiffError
from .schedule import Schedule

Levels = tuple[Tensor | float, Tensor | float]  # (alpha, sigma)

# The network's time as a function (t, schedule) -> Tensor, by name. A stored model names one of these.
TIME_INPUTS: dict[str, Callable[[Tensor, Schedule], Tensor]] = {
    # DDPM's 0..999, on every schedule
    "timestep": lambda t, schedule: schedule.timesteps * t / schedule.t_max - 1,
    "thousand": lambda t, schedule: 1000 * t,  # flow-matching transformers
    "time": lambda t, schedule: t,
    "edm": lambda t, schedule: log_ratio(schedule, t) / 4,
    # the timesteps of diffusers' consistency scheduler
    "cm": lambda t, schedule: 250 * log_ratio(schedule, t),
}


class Prediction:
    """A model's prediction at x: clean data `x0` and noise `eps`, with x = alpha x0 + sigma eps exactly.

    It unpacks as (x0, eps).

    Args:
        x: the noised samples (B, ...).
        x0: clean data of the same shape, or a function that returns it at first use.
        eps: noise of the same shape, or a function that returns it at first use.
        extra: further output channels of the network (B, C', ...); None if it has no further channels.
        levels: (alpha, sigma) at x's time if known, so that `combine` need not compute eps.
        kept: function that returns the noise that `combine` takes in the place of eps, for an x0 that was
            bounded while the network's own noise is kept; None for eps.
    """

    def __init__(
        self,
        x: Tensor,
        x0: Tensor | Callable[[], Tensor],
        eps: Tensor | Callable[[], Tensor],
        extra: Tensor | None = None,
        levels: Levels | None = None,
        kept: Callable[[], Tensor] | None = None,
    ) -> None:
        self.x = x
        self.extra = extra
        self.levels = levels
        self.kept = kept
        self._x0 = x0
        self._eps = eps

    @cached_property
    def x0(self) -> Tensor:
        """The clean data (B, ...)."""
        return self._x0() if callable(self._x0) else self._x0

    @cached_property
    def eps(self) -> Tensor:
        """The noise (B, ...)."""
        return self._eps() if callable(self._eps) else self._eps

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.x0, self.eps))

    def __repr__(self) -> str:
        extra = "" if self.extra is None else f", extra={tuple(self.extra.shape)}"
        dtype = str(self.x.dtype).removeprefix("torch.")
        return f"{type(self).__name__}(shape={tuple(self.x.shape)}, {dtype}, {self.x.device}{extra})"

    def blend(self, a: float, b: float) -> Tensor:
        """Return a x + b x0."""
        return blend(a, self.x, b, self.x0)

    def combine(self, x0: float, eps: float) -> Tensor:
        """Return x0 times the clean data plus eps times the noise, in two passes over memory."""
        if self.kept is not None:
            return blend(x0, self.x0, eps, self.kept())
        if self.levels is None:
            return blend(x0, self.x0, eps, self.eps)
        alpha, sigma = self.levels
        factor = eps / sigma  # the noise is (x - alpha x0) / sigma
        return self.blend(factor, x0 - factor * alpha)


class RawPrediction(Prediction):
    """A prediction stored as the network's output, so that a sampler's update need not compute x0.

    Args:
        x: the noised samples (B, ...).
        output: the network's output of the same shape.
        at: coefficients at the time of x.
        extra: further output channels; None if there are no further channels.
    """

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

    x0 = x_x0 x + out_x0 output and eps = x_eps x + out_eps output. The network takes scale x as its input and
    network_time as its time; x = alpha x0 + sigma eps. Fields are numbers for a 0-dim t and tensors (B,) for
    times (B,).
    """

    x_x0: Tensor | float
    out_x0: Tensor | float
    x_eps: Tensor | float
    out_eps: Tensor | float
    scale: Tensor | float
    network_time: Tensor | float
    alpha: Tensor | float
    sigma: Tensor | float


def checked_output(output: Any, x: Tensor) -> Tensor:
    """Return a network's output for x (B, C, ...) if it is a tensor of x's shape or with 2 C channels.

    Raises:
        FastdiffError: for anything else, which would otherwise be broadcast against x.
    """
    if not isinstance(output, Tensor):
        raise FastdiffError(
            f"the network returned a {type(output).__name__}: expected a tensor; wrap it, such as "
            "lambda x, t: net(x, t).sample"
        )
    if output.shape == x.shape:
        return output
    if x.ndim < 2 or output.shape != (len(x), 2 * x.shape[1], *x.shape[2:]):
        raise FastdiffError(
            f"the network's output has shape {tuple(output.shape)}: expected {tuple(x.shape)}, that of its "
            "input, or twice the channels with a learned variance"
        )
    return output


def time_embedding_input(at: Solution, x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the network's time (B,) in a network's dtype, but at least in float32.

    In half precision the timesteps 999 and 1000 would be the same number.
    """
    dtype = torch.promote_types(dtype, torch.float32)
    if isinstance(at.network_time, float):
        return x.new_full((len(x),), at.network_time, dtype=dtype)
    return at.network_time.to(x.device, dtype)


def rounded_time(at: Solution, rounding: str) -> Solution:
    """Return coefficients whose network_time is the nearest whole number, or for `floor` the one below.

    A time just below a whole number, by less than TIME_TOLERANCE, counts as that number.
    """
    time = torch.as_tensor(at.network_time, dtype=torch.float64)
    whole = (time + TIME_TOLERANCE).floor() if rounding == "floor" else time.round()
    return at._replace(network_time=float(whole) if isinstance(at.network_time, float) else whole)


def ratio_of(schedule: Schedule, t: Tensor) -> Tensor:
    """Return sigma / alpha at time t."""
    alpha, sigma = schedule.alpha_sigma(t)
    return sigma / alpha


def log_ratio(schedule: Schedule, t: Tensor) -> Tensor:
    """Return log(sigma / alpha) at time t, bounded below, since a network of two times also takes t = 0."""
    return ratio_of(schedule, t).clamp(min=1e-5).log()


# A prediction type is a pair of coefficients (a, b): the network's output is a(t) x0 + b(t) eps.
# (schedule, t, sigma_data) -> (a, b)
PREDICTION_TYPES: dict[str, Callable[[Schedule, Tensor, float], tuple[Tensor, Tensor]]] = {
    "x0": lambda schedule, t, sigma_data: (torch.ones_like(t), torch.zeros_like(t)),
    "eps": lambda schedule, t, sigma_data: (torch.zeros_like(t), torch.ones_like(t)),
    "v": lambda schedule, t, sigma_data: v_coefficients(schedule, t),
    "velocity": lambda schedule, t, sigma_data: schedule.rates(t),
    "edm": lambda schedule, t, sigma_data: edm_coefficients(schedule, t, sigma_data),
    "cm": lambda schedule, t, sigma_data: cm_coefficients(schedule, t, sigma_data),
    "lcm_eps": lambda schedule, t, sigma_data: lcm_coefficients(
        schedule, t, sigma_data, PREDICTION_TYPES["eps"]
    ),
    "lcm_v": lambda schedule, t, sigma_data: lcm_coefficients(schedule, t, sigma_data, PREDICTION_TYPES["v"]),
}


TIME_TOLERANCE = 1e-6  # of a training timestep
SIGMA_MIN = 0.002  # sigma / alpha at and below which a consistency model is the identity
LCM_SCALE = 10  # factor by which LCM multiplies its timesteps
MIN_OUTPUT_FACTOR = 1e-12  # used where x0 does not depend on the output, to avoid a division by 0


def v_coefficients(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return (a, b) of v = alpha eps - sigma x0 (Salimans & Ho 2022, appendix D)."""
    alpha, sigma = schedule.alpha_sigma(t)
    return -sigma, alpha


def edm_coefficients(schedule: Schedule, t: Tensor, sigma_data: float) -> tuple[Tensor, Tensor]:
    """Return (a, b) of EDM's F in any schedule's coordinates (Karras et al. 2022, equation 7)."""
    alpha, sigma = schedule.alpha_sigma(t)
    norm = (sigma**2 + (sigma_data * alpha) ** 2).sqrt()
    return sigma / (sigma_data * norm), -sigma_data * alpha / norm


def cm_coefficients(schedule: Schedule, t: Tensor, sigma_data: float) -> tuple[Tensor, Tensor]:
    """Return (a, b) of F in x0 = c_skip x + c_out F, which is x at SIGMA_MIN.

    Song et al. 2023, appendix C.
    """
    alpha, _ = schedule.alpha_sigma(t)
    ratio = ratio_of(schedule, t)
    above = (ratio - SIGMA_MIN).clamp(min=0)
    skip = sigma_data**2 / (above**2 + sigma_data**2)
    return implied_coefficients(
        schedule, t, skip / alpha, sigma_data * above / (ratio**2 + sigma_data**2).sqrt()
    )


def lcm_coefficients(
    schedule: Schedule, t: Tensor, sigma_data: float, inner: Callable
) -> tuple[Tensor, Tensor]:
    """Return (a, b) of LCM's x0 = c_skip x + c_out (x0 of the inner prediction type).

    c_skip and c_out are functions of the timestep (Luo et al. 2023, section 4).
    """
    at = LCM_SCALE * TIME_INPUTS["timestep"](t, schedule).clamp(min=0)
    skip, out = sigma_data**2 / (at**2 + sigma_data**2), at / (at**2 + sigma_data**2).sqrt()
    (alpha, sigma), (a, b) = schedule.alpha_sigma(t), inner(schedule, t, sigma_data)
    det = alpha * b - sigma * a
    return implied_coefficients(schedule, t, skip + out * b / det, -out * sigma / det)


def implied_coefficients(schedule: Schedule, t: Tensor, skip: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """Return (a, b) of the output in x0 = skip x + out output."""
    alpha, sigma = schedule.alpha_sigma(t)
    out = torch.where(out.abs() < MIN_OUTPUT_FACTOR, MIN_OUTPUT_FACTOR, out)
    return (1 - alpha * skip) / out, -sigma * skip / out
