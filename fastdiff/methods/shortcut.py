"""Shortcut models (Frans et al. 2024): a jump of d equals two jumps of d / 2, and the shortest follows the velocity."""

import math
from dataclasses import dataclass

import torch

from ..core.broadcast import like
from ..core.ema import decay_at
from ..core.errors import FastdiffError
from ..core.extra_inputs import with_second_time
from ..core.sampling import Sampling
from .base import Method, bare, per_sample
from .diagnostics import by_level
from .meanflow import average_velocity


@dataclass
class Shortcut(Method):
    """Jumps d = 1, 1/2, 1/4, ... 1 / steps of the student's clock, which is told d by where it lands: s = t - d.

    share: of examples that learn a longer jump from two by the running average of decay mu; the others learn
    the shortest one, by flow matching. Errors are those of the average velocity on the straight line, eps -
    x0.
    """

    steps: int = 128
    share: float = 0.125
    mu: float = 0.999

    def __post_init__(self) -> None:
        if self.steps < 2 or self.steps & (self.steps - 1):
            raise FastdiffError(f"steps = {self.steps}: expected a power of two, at least 2", key="steps")
        if not 0 < self.share < 1:
            raise FastdiffError(
                f"share = {self.share}: expected a share of examples, above 0 and less than 1", key="share"
            )
        if not 0 <= self.mu < 1:
            raise FastdiffError(f"mu = {self.mu}: expected a decay, 0 to less than 1", key="mu")

    def student(self, model):
        return with_second_time(model)

    def averages(self):
        return {
            "target": lambda progress: decay_at(self.mu, progress.step)
        }  # no memory of an untrained student

    def loss(self, turn, nets, batch, progress):
        schedule, x0, rng = bare(nets["student"]).schedule, batch.x0, batch.rng
        halved = rng.uniform() < self.share
        d = torch.where(halved, 2.0 ** -rng.integers(0, int(math.log2(self.steps))).double(), 1 / self.steps)
        t = d * (1 + (rng.uniform() / d).floor())  # d, 2 d, ... 1
        t, mid, s = (schedule.t_max * time for time in (t, t - d / 2, t - d))
        eps = rng.normal(x0.shape[1:]).to(x0)
        x = schedule.mix(x0, eps, t)
        p = nets["student"](x, t, s, batch.cond)
        target, rows = eps - x0, halved.nonzero()[:, 0]
        if len(rows):
            cond = batch.cond and {name: value[rows] for name, value in batch.cond.items()}
            target[rows] = two_jumps(nets["target"], x[rows], t[rows], mid[rows], s[rows], cond)
        error = per_sample((average_velocity(p) - target).square())
        seen, flow = error.detach(), (~halved).to(error)
        logs = by_level("self_error", seen[rows], t[rows] / schedule.t_max) if len(rows) else {}
        return error.mean(), logs | {"flow": (flow * seen).sum() / flow.sum().clamp(min=1)}

    def sampling(self):
        return Sampling("ddim", "uniform", (1, 2, 4, 8))


@torch.no_grad()
def two_jumps(net, x, t, mid, s, cond):
    """The average velocity of two jumps in a row, each in proportion to its stretch of the straight line."""
    schedule = net.schedule
    first = net(x, t, mid, cond)
    second = net(schedule.mix(*first, mid), mid, s, cond)
    far, near, end = (schedule.straight(time) for time in (t, mid, s))
    share = like((far - near) / (far - end), x)
    return share * average_velocity(first) + (1 - share) * average_velocity(second)
