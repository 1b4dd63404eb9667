"""Inductive moment matching (Zhou et al. 2025): jumps from two times follow the same distribution."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.extra_inputs import with_second_time
from ..core.prediction import Prediction, ratio_of
from ..core.rng import SampleRng
from ..core.sampling import Sampling
from ..core.schedule import Flow, Schedule
from ..data.batch import Batch
from .base import Loss, Method, Nets, Progress, Turn, unwrap
from .diagnostics import by_level
from .distances import per_sample
from .jvp import preserve_rng_state
from .time_sampling import TimeDistribution, Uniform

LINE = Flow()


@dataclass
class IMM(Method):
    """IMM (Zhou et al. 2025, algorithm 1): moment matching of jumps to s from two times t > r.

    The loss is the mean over groups of weight(t) MMD(y_t, sg y_r), the maximum mean discrepancy with a
    Laplace kernel between M jumps y_t from t and M jumps y_r from r, all to s; M = 1 is consistency training.
    The times are those of the straight line x = (1 - t) x0 + t eps, whatever the student's schedule. The
    student gets a second time as input. Needs images and no teacher.

    Unlike in the authors' code, noise and kernel are not scaled by sigma_data = 0.5: for data of that
    standard deviation t is another noise level and the kernel is twice as wide. Their times end at 0.994, and
    10 % of their labels are dropped for guidance; here a group may also mix classes.

    Args:
        times: distribution of t on the line, a key of TIME_DISTRIBUTIONS; s is uniform in [0, t].
        M: number of samples in a group, at least 1. The batch of a process must be a multiple of it.
        k: exponent in the rule for r: sigma / alpha at r is less than at t by span / 2^k, with r >= s.
        span: range of sigma / alpha in that rule, above 0.
        a: exponent in the weight sigmoid(b - logSNR) alpha^a.
        b: offset in the weight.
    """

    times: TimeDistribution = Uniform(0.006)
    M: Annotated[int, Field(ge=1)] = 4
    k: Annotated[int, Field(ge=0)] = 15
    span: Annotated[float, Field(gt=0)] = 160.0
    a: float = 1.0
    b: float = 5.0

    @override
    def student(self, model: Denoiser) -> Denoiser:
        return with_second_time(model)

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        model = unwrap(nets["student"])
        schedule = model.schedule
        x0 = batch.x0
        groups = len(x0) // self.M
        if len(x0) % self.M:
            raise FastdiffError(
                f"imm: {len(x0)} samples cannot be divided into groups of M = {self.M}: choose a train.batch "
                "that is a multiple of M, train.gradient_accumulation and the number of processes"
            )

        # 1. Sample times s <= r < t of each group, noise, x_t, and x_r from x_t by DDIM with the true x0.
        #    A group is every groups-th sample, so that it lies on one process.
        t, s, r = (time[:groups].repeat(self.M) for time in self.draw(batch.rng, schedule))
        x_t, eps = batch.noised(schedule, t)
        x_r = schedule.mix(x0, eps, r)

        # 2. Jumps to s from t, with gradients, and from r, without.
        with preserve_rng_state(x_t):  # the same dropout mask for both passes
            y_t = jump_end(schedule, nets["student"](x_t, t, s, batch.cond), s)
        with torch.no_grad():
            y_r = jump_end(schedule, model(x_r, r, s, batch.cond), s)

        # 3. The discrepancy of the two, group by group.
        u_t, u_r, u_s = (schedule.straight(time[:groups]) for time in (t, r, s))
        from_t, from_r = (y.reshape(self.M, groups, -1).transpose(0, 1) for y in (y_t, y_r))
        c_out = (u_t - u_s).clamp(min=1e-9) / (
            u_t**2 + (1 - u_t) ** 2
        ).sqrt()  # |dy| per unit of network output
        mmd = (
            laplace(from_t, from_t, c_out).mean((1, 2))
            + laplace(from_r, from_r, c_out).mean((1, 2))
            - 2 * laplace(from_t, from_r, c_out).mean((1, 2))
        )

        # 4. Its weighted mean.
        error = per_sample((y_t - y_r).detach().square()).sqrt()
        return (self.weight(u_t).to(mmd) * mmd).mean(), {
            "mmd": mmd.mean(),
            "gap": (u_t - u_r).mean(),
            **by_level("self_error", error, schedule.straight(t)),
        }

    def draw(self, rng: SampleRng, schedule: Schedule) -> tuple[Tensor, Tensor, Tensor]:
        """Draw times t, s <= t and r in [s, t] of the schedule, each (B,)."""
        t = schedule.time_of_flow(self.times.draw(rng, LINE)[0])
        s = schedule.time_of_flow(rng.uniform() * schedule.straight(t))
        ratio = (ratio_of(schedule, t) - self.span / 2**self.k).clamp(min=0)
        r = torch.maximum(s, schedule.time_of(ratio).clamp(0, schedule.t_max))
        return t, s, r

    def weight(self, u: Tensor) -> Tensor:
        """Return the weight (B,) of the loss at times u (B,) of the line:

        sigmoid(b - lambda) (-d lambda / du) / 2 alpha^a / (alpha^2 + sigma^2), with lambda the logSNR.
        """
        log_snr = 2 * ((1 - u) / u).log()
        return (self.b - log_snr).sigmoid() / u * (1 - u) ** (self.a - 1) / (u**2 + (1 - u) ** 2)

    @override
    def sampling(self) -> Sampling:
        return Sampling("ddim", "uniform", (1, 2, 4, 8))


def jump_end(schedule: Schedule, p: Prediction, s: Tensor) -> Tensor:
    """Return the point (B, ...) of the straight line of (x0, eps) at the schedule's time s (B,)."""
    return LINE.mix(*p, schedule.straight(s))


def laplace(a: Tensor, b: Tensor, c_out: Tensor) -> Tensor:
    """Return the kernel exp(-|a - b| / (c_out D)) of all pairs in a group.

    Args:
        a: samples (G, M, D) of G groups.
        b: other samples (G, M, D).
        c_out: scales (G,) of the groups.

    Returns:
        Values in (0, 1], (G, M, M), in float32 or float64.
    """
    dtype = torch.promote_types(a.dtype, torch.float32)
    distance = (a.to(dtype)[:, :, None] - b.to(dtype)[:, None]).norm(dim=-1)  # no gradient where it is 0
    return (-distance.clamp(min=1e-8) / like(c_out * a.shape[-1], distance)).exp()
