"""MeanFlow (Geng et al. 2025, "Mean flows for one-step generative modeling"), and improved MeanFlow (Geng et al. 2025)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..core.broadcast import like
from ..core.errors import FastdiffError
from ..core.extra_inputs import with_second_time
from ..core.prediction import ratio_of
from ..core.sampling import Sampling
from ..core.schedule import Flow
from .base import Law, LogitNormal, Method, bare
from .diagnostics import by_level
from .jvp import alike, jvp

LINE = Flow()


@dataclass
class MeanFlow(Method):
    """Algorithm 1: u(z, r, t), the average velocity from t back to r on z = (1 - t) x + t e, obeys u = v - (t - r) du/dt.

    u is eps - x0 of the student's jump, on any schedule. times: law of both times on the straight line, sorted; share: of
    examples with r = t, where u is the velocity itself. An error S (a sum over dimensions) weighs 1 / (S + c)^p.
    differences: stride on the line's clock of central differences in the place of the exact derivative, 0 for that. Of a
    network whose time has fast waves (a clock of a thousand ticks), the exact one is noise: 0.03 did better.
    """

    times: Law = LogitNormal(-2.0, 2.0)
    share: float = 0.25
    p: float = 0.75
    c: float = 1e-3
    differences: float = 0.0

    training: ClassVar[dict] = {"decay": "cosine"}

    def __post_init__(self) -> None:
        if self.times.memory() is not None:
            raise FastdiffError(
                "times: importance is for denoising, choose logit_normal, uniform or lognormal", key="times"
            )
        if not 0 <= self.share < 1:
            raise FastdiffError(
                f"share = {self.share}: expected a share of examples, 0 to less than 1", key="share"
            )
        if not (self.p >= 0 and self.c > 0):
            raise FastdiffError(f"p = {self.p}, c = {self.c}: expected p at least 0 and c above 0", key="p")
        if not 0 <= self.differences < 1:
            raise FastdiffError(
                f"differences = {self.differences}: expected a stride, 0 to less than 1", key="differences"
            )

    def student(self, model):
        return with_second_time(model)

    def loss(self, turn, nets, batch, progress):
        model, cond = bare(nets["student"]), batch.cond
        schedule, x0 = model.schedule, batch.x0
        t, r = self.pair(batch.rng, schedule)
        e = batch.rng.normal(x0.shape[1:]).to(x0)
        x, gap = schedule.mix(x0, e, t), schedule.straight(t) - schedule.straight(r)
        with alike(x):  # the same dropout mask for all passes
            u = average_velocity(nets["student"](x, t, r, cond))
        with torch.no_grad():
            with alike(x):
                path = self.path(model, x, t, cond, (x0, e))
            slope = like(gap, x) * self.derivative(model, path, t, r, cond)  # (t - r) du/dt
        error = (u - (e - x0 - slope)).flatten(1).square().sum(1)  # S
        loss = (error / (error.detach() + self.c) ** self.p).mean()
        at_rest = (gap == 0).to(error)
        return loss, {
            "tangent": slope.flatten(1).norm(dim=1).mean(),
            "gap": gap.mean(),
            "boundary": (error.detach() * at_rest).sum() / at_rest.sum().clamp(min=1),
            **by_level("error", error.detach(), schedule.straight(t)),
        }

    def pair(self, rng, schedule):
        """t and r <= t, on the schedule's own clock."""
        one, other = (self.times.draw(rng, LINE)[0] for _ in range(2))
        t, r = torch.maximum(one, other), torch.minimum(one, other)
        r = torch.where(rng.uniform() < self.share, t, r)
        return (schedule.time_of(ratio_of(LINE, time)).clamp(max=schedule.t_max) for time in (t, r))

    def path(self, model, x, t, cond, sample):
        """The (x0, eps) whose straight line the derivative follows: the sample's own."""
        return sample

    def derivative(self, model, path, t, r, cond):
        """du/dt along the straight line of a pair (x0, eps), r held."""
        schedule = model.schedule

        def u(x, t):
            return average_velocity(model(x, t, r, cond))

        if not self.differences:
            (alpha, sigma), (alpha_rate, sigma_rate) = schedule.alpha_sigma(t), schedule.rates(t)
            rate = (alpha + sigma) ** 2 / (
                sigma_rate * alpha - sigma * alpha_rate
            )  # dt / d(the line's clock)
            velocity = schedule.velocity(*path, t)
            return jvp(u, (schedule.mix(*path, t), t), (like(rate, velocity) * velocity, rate))[1]
        here, top = schedule.straight(t), schedule.straight(t.new_tensor(schedule.t_max))
        late = torch.minimum(here + self.differences, top)
        early = torch.maximum(
            here - self.differences, schedule.straight(r)
        )  # a jump from before r was never asked for
        after, before = (
            schedule.time_of(line / (1 - line)).clamp(max=schedule.t_max) for line in (late, early)
        )
        with torch.autocast(t.device.type, enabled=False):
            with alike(t):
                rise = u(schedule.mix(*path, after), after)
            rise = rise - u(schedule.mix(*path, before), before)
        return rise / like((late - early).clamp(min=1e-9), rise)  # at the top r may be t: no rise

    def sampling(self):
        return Sampling("ddim", "uniform", (1, 2, 4, 8))


@dataclass
class IMF(MeanFlow):
    """Improved MeanFlow (Geng et al. 2025, "Improved mean flows"): the derivative follows the velocity that the student
    itself sees, u(z, t, t), so that what is learned from, u + (t - r) sg(du/dt), depends on x and t alone."""

    times: Law = LogitNormal(-0.4, 1.0)
    share: float = 0.5
    p: float = 1.0
    c: float = 1e-2

    def path(self, model, x, t, cond, sample):
        return tuple(model(x, t, t, cond))


def average_velocity(p):
    """d z / d t of the straight line through a prediction's x0 and eps."""
    return p.eps - p.x0
