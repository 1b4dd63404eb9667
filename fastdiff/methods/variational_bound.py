"""The variational bound on the likelihood, the loss of a learned variance."""

import math

import torch
from torch import Tensor

from ..core.broadcast import like
from ..core.prediction import Prediction
from ..core.schedule import Schedule
from .distances import per_sample


def on_timesteps(schedule: Schedule, t: Tensor) -> Tensor:
    """Return the nearest training timestep (B,) of each time (B,); a learned variance is of one step."""
    count = schedule.timesteps
    return (t / schedule.t_max * count).round().clamp(1, count) / count * schedule.t_max


def variational_bits(schedule: Schedule, p: Prediction, x0: Tensor, t: Tensor) -> Tensor:
    """Return the term of the variational bound at each timestep; only the variance gets gradients.

    The term is KL(q(x_s | x_t, x0), p(x_s | x_t)) for the step from t to the next lower timestep s. For the
    last step, to data, it is the negative log-likelihood of 8-bit data in [-1, 1] (Ho et al. 2020, equation
    13; Nichol & Dhariwal 2021, section 3).

    Args:
        schedule: schedule of the timesteps.
        p: prediction at x_t. Its extra channels (B, ...) interpolate the logarithm of the variance: -1 for
            the smallest possible variance, 1 for the largest.
        x0: clean data (B, ...).
        t: timesteps (B,).

    Returns:
        Bits per dimension (B,).
    """
    stride = schedule.t_max / schedule.timesteps
    last = t < 1.5 * stride
    error = (p.x0.detach() - x0).to(torch.promote_types(x0.dtype, torch.float32))
    fraction = (p.extra.to(error) + 1) / 2

    # The smallest variance of the last step would be 0: it uses that of the step before.
    start = torch.where(last, 2 * stride, t)
    alpha_t, sigma_t = schedule.alpha_sigma(start)
    alpha_s, sigma_s = schedule.alpha_sigma(start - stride)
    beta = sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2
    small = beta * (sigma_s / sigma_t) ** 2

    gained = (alpha_s / sigma_s) ** 2 - (alpha_t / sigma_t) ** 2  # signal-to-noise ratio of the step
    growth = 2 * fraction * like((sigma_t / sigma_s).log(), error)  # log of the variance over the small one
    divergence = (growth + (1 + like(gained, error) * error.square()) * (-growth).exp() - 1) / 2

    log_small = small.log()
    log_large = 2 * schedule.alpha_sigma(t)[1].log()
    log_variance = like(log_small, error) + fraction * like(log_large - log_small, error)
    nats = torch.where(like(last, error).bool(), decoder_nats(x0.to(error), error, log_variance), divergence)
    return per_sample(nats) / math.log(2)


def decoder_nats(x0: Tensor, error: Tensor, log_variance: Tensor) -> Tensor:
    """Return -log (B, ...) of a Gaussian's mass in the bin of x0, one of 256 in [-1, 1] with open end bins.

    Args:
        x0: clean data (B, ...).
        error: mean of the Gaussian minus x0 (B, ...).
        log_variance: logarithm of the Gaussian's variance (B, ...).
    """
    rise = torch.exp(-log_variance / 2)
    reach = 1 / 255  # half of a bin
    inner = torch.special.ndtr((reach - error.abs()) * rise) - torch.special.ndtr(
        (-reach - error.abs()) * rise
    )
    lowest = torch.special.ndtr((reach - error) * rise)
    highest = torch.special.ndtr((reach + error) * rise)
    mass = torch.where(x0 < -0.999, lowest, torch.where(x0 > 0.999, highest, inner))
    return -mass.clamp(min=1e-12).log()
