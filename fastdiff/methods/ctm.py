"""Consistency trajectory models (Kim et al. 2024), with their adversarial term where it is given a weight."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch

from ..core.broadcast import like
from ..core.errors import FastdiffError
from ..core.extra_inputs import with_second_time
from ..core.prediction import ratio_of
from ..core.sampling import Sampling
from .adversarial import Adversary, pulled
from .base import Distance, Law, LogitNormal, LogNormal, Method, SquaredL2, bare, heun, per_sample, twice
from .diagnostics import boundary, by_level


@dataclass
class CTM(Method):
    """The jump G(x, t, s) agrees with that from u, between s and t, where the teacher's Heun steps lead from t.

    Both ends are compared as data, after a further jump from s to 0 by the running average of decay mu.
    points: of the teacher's grid, whose steps are equal in the angle of tangent sigma / alpha and begin
    anywhere: on a grid that stays in its place (the paper's is Karras') a student knows no other jumps than
    those. dsm: weight of denoising score matching of g(x, t, t), at times half of a law and half of any angle
    (the paper balances the terms by their gradients). gan: a critic on the teacher's features of the data
    that the jumps lead to, noised to a level of gan_times; it comes when a share gan_start of the training is
    done.
    """

    points: int = 18
    mu: float = 0.999
    distance: Distance = SquaredL2()
    dsm: float = 1.0
    times: Law = LogNormal()
    gan: Adversary = Adversary()
    gan_times: Law = LogitNormal()
    gan_start: float = 0.25

    training: ClassVar[dict] = {"optimizer": "radam"}
    teaches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.points < 2:
            raise FastdiffError(f"points = {self.points}: expected at least 2", key="points")
        if not (0 <= self.mu < 1 and self.dsm >= 0):
            raise FastdiffError(
                f"mu = {self.mu}, dsm = {self.dsm}: expected a decay below 1 and a weight of 0 or more",
                key="mu",
            )
        for what in ("times", "gan_times"):
            if getattr(self, what).memory() is not None:
                raise FastdiffError(
                    f"{what}: importance is for denoising, choose lognormal, uniform or logit_normal",
                    key=what,
                )
        if not 0 <= self.gan_start <= 1:
            raise FastdiffError(
                f"gan_start = {self.gan_start}: expected a share of the training, 0 to 1", key="gan_start"
            )

    def student(self, model):
        return with_second_time(model)

    def averages(self):
        return {"target": lambda progress: self.mu}

    def extras(self, student, teacher):
        return self.gan.extras(teacher)

    def turns(self, progress):
        return self.gan.turns if self.judged(progress) else (("student",),)

    def judged(self, progress):
        """Whether the critic has come."""
        return self.gan.weight > 0 and progress.fraction >= self.gan_start

    def loss(self, turn, nets, batch, progress):
        return self.agree(nets, batch, self.judged(progress)) if "student" in turn else self.tell(nets, batch)

    def path(self, schedule, batch):
        """Times of the teacher's steps from t to u, and s, between u and 0."""
        steps, rng = (
            int(batch.shared.integers(1, self.points)),
            batch.rng,
        )  # of the teacher: alike for the batch
        # Places on the grid are real numbers, but its two ends are as likely as any of its points.
        i = (steps + rng.uniform() * (self.points - steps)).clamp(max=self.points - 1)
        j = (rng.uniform() * (i - steps + 1) - 1).clamp(min=0)
        return [self.time(schedule, i - k) for k in range(steps + 1)], self.time(schedule, j)

    def tell(self, nets, batch):
        """The critic learns to tell where the student's jumps lead from the data."""
        schedule, x0 = bare(nets["student"]).schedule, batch.x0
        (t, *_), s = self.path(schedule, batch)
        with torch.no_grad():
            x = schedule.mix(x0, batch.rng.normal(x0.shape[1:]).to(x0), t)
            near = schedule.mix(*nets["student"](x, t, s, batch.cond), s)
            real, made = self.seen(
                nets, batch, x0, jump(nets["target"], near, s, torch.zeros_like(s), batch.cond)
            )
        return self.gan.telling(nets["critic"], real, made)

    def seen(self, nets, batch, *parts):
        """What the critic sees of batches of clean samples."""
        teacher = nets["teacher"]
        return self.gan.seen_noised(
            teacher, self.gan_times.draw(batch.rng, teacher.schedule)[0], batch, *parts
        )

    def agree(self, nets, batch, judged):
        """The student's jump agrees with that from where the teacher leads, denoises, and pleases the critic."""
        model, target, cond = bare(nets["student"]), nets["target"], batch.cond
        schedule, x0, rng, n = model.schedule, batch.x0, batch.rng, len(batch.x0)
        path, s = self.path(schedule, batch)
        t, u = path[0], path[-1]
        low = torch.where(
            rng.uniform() < 0.5,
            self.times.draw(rng, schedule)[0],
            self.time(schedule, rng.uniform() * (self.points - 1)),
        )
        eps, noise = (rng.normal(x0.shape[1:]).to(x0) for _ in range(2))
        x, y = schedule.mix(x0, eps, t), schedule.mix(x0, noise, low)
        # Both terms in one pass: a wrapped student counts them.
        p = nets["student"](torch.cat([x, y]), torch.cat([t, low]), torch.cat([s, low]), twice(cond))
        zero = torch.zeros_like(s)
        found = jump(target, schedule.mix(p.x0[:n], p.eps[:n], s), s, zero, cond)
        with torch.no_grad():
            near = x
            for here, there in pairwise(path):
                near = heun(nets["teacher"], schedule, near, here, there, cond)
            wanted = jump(target, jump(target, near, u, s, cond), s, zero, cond)
            error = per_sample((found - wanted).square()).sqrt()
        denoising = per_sample(model.target(p.x0[n:] - x0, p.eps[n:] - noise, low).square()).mean()
        leaf = found.detach().requires_grad_()
        terms = {"agreement": self.distance(leaf, wanted).mean()}
        if judged:
            (features,) = self.seen(nets, batch, leaf)
            terms["gan"] = self.gan.weight * self.gan.fooling(nets["critic"](features))
        loss, logs = pulled(found, leaf, terms)
        return loss + self.dsm * denoising, {
            **logs,
            "dsm": denoising,
            "gap": ((t - s) / schedule.t_max).mean(),
            **boundary(schedule, low, p.x0[n:], x0),
            **by_level("self_error", error, t / schedule.t_max),
        }

    def time(self, schedule, place):
        """The time at a place of the grid, 0 for clean data to points - 1 for t_max."""
        top = ratio_of(schedule, place.new_tensor(schedule.t_max)).atan()
        return schedule.time_of((place / (self.points - 1) * top).tan()).clamp(0, schedule.t_max)

    def teacher_nfe(self):
        alone = self.gan_start if self.gan.weight else 1.0  # steps of one turn, the others are of two
        return (self.points + 3 * (1 - alone)) / (2 - alone)  # two evaluations a step, points / 2 steps

    def sampling(self):
        return Sampling("ddim", "uniform", (1, 2, 4, 8))


def jump(net, x, t, s, cond):
    """G(x, t, s); where t is s it is x, and the network is asked at some other time."""
    moved = like(t > s, x) > 0
    p = net(x, torch.where(t > s, t, net.schedule.t_max), s, cond)
    return torch.where(moved, net.schedule.mix(*p, s), x)
