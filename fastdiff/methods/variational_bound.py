"""The variational bound on the likelihood, which a learned variance is trained by."""

import math

import torch
from torch import Tensor

from ..core.broadcast import like
from ..core.prediction import Prediction
from ..core.schedule import Schedule
from .distances import per_sample


def on_timesteps(schedule: Schedule, t: Tensor) -> Tensor:
    """Return the training timestep nearest to each time: a variance is that of a step between two of them."""
    count = schedule.timesteps
    return (t / schedule.t_max * count).round().clamp(1, count) / count * schedule.t_max


def variational_bits(schedule: Schedule, p: Prediction, x0: Tensor, t: Tensor) -> Tensor:
    """Return the term of the bound on the likelihood at each timestep; only the variance gets gradients.

    KL(q(x_s | x_t, x0), p(x_s | x_t)) of the step from t to the timestep s before; that of the last step,
    into data, is the negative log-likelihood of 8-bit data in [-1, 1] (Ho et al. 2020, equation 13; Nichol &
    Dhariwal 2021, section 3).

    Args:
        schedule: whose timesteps they are.
        p: a prediction at x_t, its extra channels (B, ...) the place of the variance in logarithms: -1 for
            the smallest possible, 1 for the largest.
        x0: the data (B, ...).
        t: timesteps (B,).

    Returns:
        Bits per dimension (B,).
    """
    stride = schedule.t_max / schedule.timesteps
    last = t < 1.5 * stride
    error = (p.x0.detach() - x0).to(torch.promote_types(x0.dtype, torch.float32))
    share = (p.extra.to(error) + 1) / 2

    # The step into data has no small variance to start from, and takes that of the step before.
    start = torch.where(last, 2 * stride, t)
    alpha_t, sigma_t = schedule.alpha_sigma(start)
    alpha_s, sigma_s = schedule.alpha_sigma(start - stride)
    beta = sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2
    small = beta * (sigma_s / sigma_t) ** 2

    gained = (alpha_s / sigma_s) ** 2 - (alpha_t / sigma_t) ** 2  # signal-to-noise ratio of the step
    growth = 2 * share * like((sigma_t / sigma_s).log(), error)  # log of the variance over the small one
    divergence = (growth + (1 + like(gained, error) * error.square()) * (-growth).exp() - 1) / 2

    log_small = small.log()
    log_large = 2 * schedule.alpha_sigma(t)[1].log()
    log_variance = like(log_small, error) + share * like(log_large - log_small, error)
    nats = torch.where(like(last, error).bool(), decoder_nats(x0.to(error), error, log_variance), divergence)
    return per_sample(nats) / math.log(2)


def decoder_nats(x0: Tensor, error: Tensor, log_variance: Tensor) -> Tensor:
    """Return -log (B, ...) of a Gaussian's mass in the bin of x0, one of 256 in [-1, 1] with open end bins.

    Args:
        x0: the data (B, ...).
        error: the Gaussian's mean minus x0.
        log_variance: of the Gaussian.
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
