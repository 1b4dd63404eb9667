"""The training of teachers: score matching (Ho et al. 2020) and flow matching (Lipman et al. 2023)."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.sampling import Sampling
from ..data.batch import Batch
from .base import Fraction, Loss, Method, Nets, Progress, Turn, unwrap
from .distances import per_sample
from .label_dropout import drop_labels
from .time_sampling import DenoisingTimeDistribution, Uniform
from .variational_bound import on_timesteps, variational_bits


@dataclass
class Denoising(Method):
    """The training of teachers by denoising: the mean squared error of the network's own output.

    The loss is |output(x_t, t) - target|^2 per number, with the target in the network's parameterization: eps
    for score matching (Ho et al. 2020), eps - x0 for flow matching (Lipman et al. 2023). With a learned
    variance, vlb times the variational bound is added. Needs images and no teacher.

    Args:
        times: distribution of t, a key of TIME_DISTRIBUTIONS; or importance, which follows the loss.
        label_dropout: fraction of examples that are trained with the null class or the empty prompt.
        variance: fixed, or learned for a network with twice the channels (learned_variance: true), whose
            second half is trained by the variational bound (Nichol & Dhariwal 2021, equation 16) on training
            timesteps.
        vlb: weight of the bound in the loss, at least 0.
    """

    times: DenoisingTimeDistribution = Uniform()
    label_dropout: Fraction = 0.1
    variance: Literal["fixed", "learned"] = "fixed"
    vlb: Annotated[float, Field(ge=0)] = 0.001

    @override
    def trainable_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        if (self.variance == "learned") != student.learned_variance:
            raise FastdiffError(
                f"denoising: variance {self.variance} and the network disagree; the method's variance: "
                "learned requires learned_variance: true of model.net, and the other way round"
            )
        loss_moments = self.times.loss_moments()
        return {} if loss_moments is None else {"memory": loss_moments}

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        model = unwrap(nets["student"])
        schedule = model.schedule

        # 1. Sample times, noise, and x_t.
        t, weight = self.times.draw(batch.rng, schedule, nets.get("memory"))
        if self.variance == "learned":
            t = on_timesteps(schedule, t)
        x_t, eps = batch.noised(schedule, t)

        # 2. The error of the network's output, which is linear in the error of (x0, eps).
        cond, _ = drop_labels(model, batch, self.label_dropout)
        p = nets["student"](x_t, t, t, cond)
        error = per_sample(model.target(p.x0 - batch.x0, p.eps - eps, t).square())
        logs = {}

        # 3. The bound on the likelihood, for a learned variance.
        if self.variance == "learned":
            bits = schedule.timesteps * variational_bits(schedule, p, batch.x0, t)
            error = error + self.vlb * bits
            logs["vlb"] = bits.mean()

        # 4. The mean, weighted if the times were drawn by importance sampling.
        if weight is None:
            return error.mean(), logs
        nets["memory"].record(error.detach(), t / schedule.t_max)
        return (weight * error).mean(), logs | {"unweighted": error.mean()}

    @override
    def sampling(self) -> Sampling:
        return Sampling("ddim", "uniform", (50,))
