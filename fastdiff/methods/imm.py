"""Inductive moment matching (Zhou et al. 2025): jumps to s from t and from r < t make one distribution, group by group."""

from dataclasses import dataclass

import torch

from ..core.broadcast import like
from ..core.errors import FastdiffError
from ..core.extra_inputs import with_second_time
from ..core.prediction import ratio_of
from ..core.sampling import Sampling
from ..core.schedule import Flow
from .base import Law, Method, Uniform, bare, per_sample
from .diagnostics import by_level
from .jvp import alike

LINE = Flow()


@dataclass
class IMM(Method):
    """Algorithm 1, on the straight line of (x0, eps) whatever the student's schedule.

    M samples share (s, r, t); those landed from t and those from r are held together by the kernel's
    discrepancy (M = 1 is consistency training). times: law of t; s is uniform below. r is where sigma / alpha
    is less by `span` / 2^k, but never before s. a, b: of the weight sigmoid(b - logSNR) alpha^a.
    """

    times: Law = Uniform(0.006)
    M: int = 4
    k: int = 15
    span: float = 160.0
    a: float = 1.0
    b: float = 5.0

    def __post_init__(self) -> None:
        if self.times.memory() is not None:
            raise FastdiffError(
                "times: importance is for denoising, choose uniform, logit_normal or lognormal", key="times"
            )
        if self.M < 1 or self.k < 0:
            raise FastdiffError(
                f"M = {self.M}, k = {self.k}: expected M at least 1 and k at least 0", key="M"
            )
        if not self.span > 0:
            raise FastdiffError(f"span = {self.span}: expected above 0", key="span")

    def student(self, model):
        return with_second_time(model)

    def loss(self, turn, nets, batch, progress):
        model, x0 = bare(nets["student"]), batch.x0
        schedule, groups = model.schedule, len(x0) // self.M
        if len(x0) % self.M:
            raise FastdiffError(
                f"imm: {len(x0)} samples make no groups of M = {self.M}: choose a train.batch that divides "
                "by M, accumulate and the processes"
            )
        # A group is every groups-th sample, so that one process has it whole however many share the batch.
        t, s, r = (time[:groups].repeat(self.M) for time in self.draw(batch.rng, schedule))
        eps = batch.rng.normal(x0.shape[1:]).to(x0)
        x_t, x_r = schedule.mix(x0, eps, t), schedule.mix(x0, eps, r)  # x_r: DDIM from x_t by this very x0
        with alike(x_t):  # the same dropout mask for both
            y_t = landed(schedule, nets["student"](x_t, t, s, batch.cond), s)
        with torch.no_grad():
            y_r = landed(schedule, model(x_r, r, s, batch.cond), s)
        far, near, end = (schedule.straight(time[:groups]) for time in (t, r, s))
        one, other = (y.reshape(self.M, groups, -1).transpose(0, 1) for y in (y_t, y_r))
        reach = (far - end).clamp(min=1e-9) / (
            far**2 + (1 - far) ** 2
        ).sqrt()  # |c_out|: of y per unit of the network
        mmd = sum(
            sign * laplace(a, b, reach).mean((1, 2))
            for sign, a, b in ((1, one, one), (1, other, other), (-2, one, other))
        )
        error = per_sample((y_t - y_r).detach().square()).sqrt()
        return (self.weight(far).to(mmd) * mmd).mean(), {
            "mmd": mmd.mean(),
            "gap": (far - near).mean(),
            **by_level("self_error", error, schedule.straight(t)),
        }

    def draw(self, rng, schedule):
        """t, s < t, and r between them, on the schedule's own clock."""

        def own(ratio):
            return schedule.time_of(ratio).clamp(0, schedule.t_max)

        t = own(ratio_of(LINE, self.times.draw(rng, LINE)[0]))
        s = own(ratio_of(LINE, rng.uniform() * schedule.straight(t)))
        return t, s, torch.maximum(s, own((ratio_of(schedule, t) - self.span / 2**self.k).clamp(min=0)))

    def weight(self, t):
        """Of a time on the line: sigmoid(b - lambda) (-d lambda / dt) / 2 alpha^a / (alpha^2 + sigma^2), lambda = logSNR."""
        snr = 2 * ((1 - t) / t).log()
        return (self.b - snr).sigmoid() / t * (1 - t) ** (self.a - 1) / (t**2 + (1 - t) ** 2)

    def sampling(self):
        return Sampling("ddim", "uniform", (1, 2, 4, 8))


def landed(schedule, p, s):
    """Where a prediction's jump to s ends, on the straight line."""
    return LINE.mix(*p, schedule.straight(s))


def laplace(a, b, reach):
    """exp(-|a - b| / (reach D)) of every pair in a group: (G, M, D) twice, (G,) -> (G, M, M)."""
    apart = torch.promote_types(a.dtype, torch.float32)
    distance = (a.to(apart)[:, :, None] - b.to(apart)[:, None]).norm(dim=-1)  # no gradient where it is 0
    return (-distance.clamp(min=1e-8) / like(reach * a.shape[-1], distance)).exp()
