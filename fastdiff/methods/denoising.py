"""Denoising score matching and flow matching (Ho et al. 2020, Lipman et al. 2023): how teachers are trained."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..core.broadcast import like
from ..core.errors import FastdiffError
from ..core.prediction import Prediction
from ..core.sampling import Sampling
from ..core.schedule import Schedule
from .base import Law, Method, Uniform, bare, per_sample


@dataclass
class Denoising(Method):
    """Mean squared error of the network's own output. label_dropout: share of examples that learn the null
    class, or the empty prompt.

    variance: learned trains the second half of a doubled network's channels (net.learned_variance) by the
    bound on the likelihood, added to the loss vlb times (Nichol & Dhariwal 2021, equation 16); times are then
    training timesteps.
    """

    times: Law = Uniform()
    label_dropout: float = 0.1
    variance: Literal["fixed", "learned"] = "fixed"
    vlb: float = 0.001

    def extras(self, student, teacher):
        if (self.variance == "learned") != student.learned_variance:
            raise FastdiffError(
                f"denoising: variance {self.variance} and the network disagree; the method's variance: "
                "learned and model.net's learned_variance: true go together"
            )
        memory = self.times.memory()
        return {} if memory is None else {"memory": memory}

    def loss(self, turn, nets, batch, progress):
        model = bare(nets["student"])
        t, weight = self.times.draw(batch.rng, model.schedule, nets.get("memory"))
        t = on_timesteps(model.schedule, t) if self.variance == "learned" else t
        eps = batch.rng.normal(batch.x0.shape[1:]).to(batch.x0)
        x = model.schedule.mix(batch.x0, eps, t)
        p = nets["student"](x, t, t, self.dropped(model, batch))
        error, logs = per_sample(model.target(p.x0 - batch.x0, p.eps - eps, t).square()), {}
        if self.variance == "learned":
            bits = model.schedule.timesteps * variational_bits(model.schedule, p, batch.x0, t)
            error, logs = error + self.vlb * bits, {"vlb": bits.mean()}
        if weight is None:
            return error.mean(), logs
        nets["memory"].record(error.detach(), t / model.schedule.t_max)
        return (weight * error).mean(), logs | {"unweighted": error.mean()}

    def dropped(self, model, batch):
        """The condition, of some examples that which stands for none: the null class, the empty prompt."""
        labelled = model.null_label is not None and "label" in (batch.cond or {})
        if not labelled and "text" not in (batch.cond or {}):
            return batch.cond
        drop, null = batch.rng.uniform() < self.label_dropout, model.null(batch.cond)
        return {
            name: torch.where(drop.reshape(-1, *[1] * (told.ndim - 1)), null[name], told)
            if name in null
            else told
            for name, told in batch.cond.items()
        }

    def sampling(self):
        return Sampling("ddim", "uniform", (50,))


def on_timesteps(schedule: Schedule, t: Tensor) -> Tensor:
    """The training timestep nearest to each time: a learned variance is that of a step from one to the next."""
    count = schedule.timesteps
    return (t / schedule.t_max * count).round().clamp(1, count) / count * schedule.t_max


def variational_bits(schedule: Schedule, p: Prediction, x0: Tensor, t: Tensor) -> Tensor:
    """A term of the bound on the likelihood at timesteps t (B,), in bits a dimension (B,); only the variance learns.

    KL(q(x_s | x_t, x0), p(x_s | x_t)) of the step from t to the timestep s before; the last, into data, is
    the negative log-likelihood of 8-bit data in [-1, 1] (Ho et al. 2020, equation 13; Nichol & Dhariwal 2021,
    section 3).
    """
    stride = schedule.t_max / schedule.timesteps
    last = t < 1.5 * stride
    error = (p.x0.detach() - x0).to(torch.promote_types(x0.dtype, torch.float32))
    share = (p.extra.to(error) + 1) / 2
    # The step into data has no small variance to start from, and takes that of the step before.
    t, end = torch.where(last, 2 * stride, t), t
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(t - stride)
    beta = sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2
    small = beta * (sigma_s / sigma_t) ** 2
    gained = (alpha_s / sigma_s) ** 2 - (alpha_t / sigma_t) ** 2  # signal-to-noise ratio of the step
    growth = 2 * share * like((sigma_t / sigma_s).log(), error)  # log of the variance over the small one
    divergence = (growth + (1 + like(gained, error) * error.square()) * (-growth).exp() - 1) / 2
    small, large = small.log(), 2 * schedule.alpha_sigma(end)[1].log()
    log_variance = like(small, error) + share * like(large - small, error)
    nats = torch.where(like(last, error).bool(), decoder_nats(x0.to(error), error, log_variance), divergence)
    return per_sample(nats) / math.log(2)


def decoder_nats(x0: Tensor, error: Tensor, log_variance: Tensor) -> Tensor:
    """-log of a Gaussian's mass in the bin of x0 among 256 in [-1, 1]; its mean is x0 + error, the end bins are open."""
    rise, reach = torch.exp(-log_variance / 2), 1 / 255
    inner = torch.special.ndtr((reach - error.abs()) * rise) - torch.special.ndtr(
        (-reach - error.abs()) * rise
    )
    lowest, highest = torch.special.ndtr((reach - error) * rise), torch.special.ndtr((reach + error) * rise)
    mass = torch.where(x0 < -0.999, lowest, torch.where(x0 > 0.999, highest, inner))
    return -mass.clamp(min=1e-12).log()
