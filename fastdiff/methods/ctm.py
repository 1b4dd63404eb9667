"""Consistency trajectory models (Kim et al. 2024), without their adversarial term."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch

from ..denoiser import Sampling, ratio_of, with_second_time
from ..errors import FastdiffError
from ..schedule import like
from .base import Distance, Law, LogNormal, Method, SquaredL2, bare, boundary, by_level, heun, per_sample


@dataclass
class CTM(Method):
    """The jump G(x, t, s) agrees with that from u, between s and t, where the teacher's Heun steps lead from t.

    Both ends are compared as data, after a further jump from s to 0 by the running average of decay mu. points: of the
    teacher's grid, whose steps are equal in the angle of tangent sigma / alpha and begin anywhere: on a grid that stays in
    its place (the paper's is Karras') a student knows no other jumps than those. dsm: weight of denoising score matching of
    g(x, t, t), at times half of a law and half of any angle (the paper balances both terms by their gradients).
    """

    points: int = 18
    mu: float = 0.999
    distance: Distance = SquaredL2()
    dsm: float = 1.0
    times: Law = LogNormal()

    training: ClassVar[dict] = {"optimizer": "radam"}
    teaches: ClassVar[bool] = True

    def __post_init__(self):
        if self.points < 2:
            raise FastdiffError(f"points = {self.points}: expected at least 2")
        if not (0 <= self.mu < 1 and self.dsm >= 0):
            raise FastdiffError(f"mu = {self.mu}, dsm = {self.dsm}: expected a decay below 1 and a weight of 0 or more")
        if self.times.memory() is not None:
            raise FastdiffError("times: importance is for denoising, choose lognormal, uniform or logit_normal")

    def student(self, model):
        return with_second_time(model)

    def averages(self):
        return {"target": lambda progress: self.mu}

    def loss(self, turn, nets, batch, progress):
        model, target, cond = bare(nets["student"]), nets["target"], batch.cond
        schedule, x0, rng, n = model.schedule, batch.x0, batch.rng, len(batch.x0)
        steps = int(batch.shared.integers(1, self.points))                        # of the teacher: alike for the batch
        # Places on the grid are real numbers, but its two ends are as likely as any of its points.
        i = (steps + rng.uniform() * (self.points - steps)).clamp(max=self.points - 1)
        j = (rng.uniform() * (i - steps + 1) - 1).clamp(min=0)
        path, s = [self.time(schedule, i - k) for k in range(steps + 1)], self.time(schedule, j)
        t, u = path[0], path[-1]
        low = torch.where(rng.uniform() < 0.5, self.times.draw(rng, schedule)[0],
                          self.time(schedule, rng.uniform() * (self.points - 1)))
        eps, noise = (rng.normal(x0.shape[1:]).to(x0) for _ in range(2))
        x, y = schedule.mix(x0, eps, t), schedule.mix(x0, noise, low)
        # Both terms in one pass: a wrapped student counts them.
        both = cond and {name: torch.cat([value, value]) for name, value in cond.items()}
        p = nets["student"](torch.cat([x, y]), torch.cat([t, low]), torch.cat([s, low]), both)
        zero = torch.zeros_like(s)
        found = jump(target, schedule.mix(p.x0[:n], p.eps[:n], s), s, zero, cond)
        with torch.no_grad():
            near = x
            for here, there in pairwise(path):
                near = heun(nets["teacher"], schedule, near, here, there, cond)
            wanted = jump(target, jump(target, near, u, s, cond), s, zero, cond)
            error = per_sample((found - wanted).square()).sqrt()
        denoising = per_sample(model.target(p.x0[n:] - x0, p.eps[n:] - noise, low).square()).mean()
        agreement = self.distance(found, wanted).mean()
        return agreement + self.dsm * denoising, {"agreement": agreement, "dsm": denoising,
                                                  "gap": ((t - s) / schedule.t_max).mean(),
                                                  **boundary(schedule, low, p.x0[n:], x0),
                                                  **by_level("self_error", error, t / schedule.t_max)}

    def time(self, schedule, place):
        """The time at a place of the grid, 0 for clean data to points - 1 for t_max."""
        top = ratio_of(schedule, place.new_tensor(schedule.t_max)).atan()
        return schedule.time_of((place / (self.points - 1) * top).tan()).clamp(0, schedule.t_max)

    def teacher_nfe(self):
        return self.points                                                        # two evaluations a step, points / 2 steps

    def sampling(self):
        return Sampling("ddim", "uniform", (1, 2, 4, 8))


def jump(net, x, t, s, cond):
    """G(x, t, s); where t is s it is x, and the network is asked at some other time."""
    moved = like(t > s, x) > 0
    p = net(x, torch.where(t > s, t, net.schedule.t_max), s, cond)
    return torch.where(moved, net.schedule.mix(*p, s), x)
