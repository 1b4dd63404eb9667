"""Consistency trajectory models (Kim et al. 2024), with an adversarial term if it is given a weight."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Cond, Denoiser
from ..core.extra_inputs import with_second_time
from ..core.prediction import ratio_of
from ..core.sampling import Sampling
from ..core.schedule import Schedule
from ..data.batch import Batch
from .adversarial import Adversary, surrogate_loss
from .base import Decay, Fraction, Loss, Method, Nets, Progress, Turn, heun, repeat_cond, unwrap
from .diagnostics import boundary, by_level
from .distances import Distance, SquaredL2, per_sample
from .time_sampling import LogitNormal, LogNormal, TimeDistribution


@dataclass
class CTM(Method):
    """The jump G(x_t, t, s) agrees with G(x_u, u, s), where the teacher's Heun steps lead from t to u.

    u is between s and t. Both ends are compared as data, after a further jump from s to 0 by the running
    average of the student. The steps of the teacher's grid are equal in the angle of tangent sigma / alpha
    and begin anywhere: on a grid that stays in its place (the paper's is Karras') a student knows no other
    jumps than those. The paper balances the terms of the loss by their gradients.

    Args:
        points: of the teacher's grid.
        mu: decay of the running average.
        distance: between the two ends.
        dsm: weight of denoising score matching of g(x, t, t).
        times: law of half of the times of denoising; the other half is any angle.
        gan: adversarial term; its discriminator takes the teacher's features of the data that jumps lead to,
            noised.
        gan_times: law of the times that they are noised to.
        gan_start: fraction of the training after which the discriminator comes.
    """

    points: Annotated[int, Field(ge=2)] = 18
    mu: Decay = 0.999
    distance: Distance = SquaredL2()
    dsm: Annotated[float, Field(ge=0)] = 1.0
    times: TimeDistribution = LogNormal()
    gan: Adversary = Adversary()
    gan_times: TimeDistribution = LogitNormal()
    gan_start: Fraction = 0.25

    training: ClassVar[dict[str, Any]] = {"optimizer": "radam"}
    needs_teacher: ClassVar[bool] = True

    @override
    def student(self, model: Denoiser) -> Denoiser:
        return with_second_time(model)

    @override
    def target_emas(self) -> dict[str, Callable[[Progress], float]]:
        return {"target": lambda progress: self.mu}

    @override
    def trainable_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        return self.gan.trainable_networks(teacher)

    @override
    def turns(self, progress: Progress) -> tuple[Turn, ...]:
        return self.gan.turns if self.has_discriminator(progress) else (("student",),)

    def has_discriminator(self, progress: Progress) -> bool:
        """Return whether the discriminator has come."""
        return self.gan.weight > 0 and progress.fraction >= self.gan_start

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        if "student" in turn:
            return self.student_loss(nets, batch, self.has_discriminator(progress))
        return self.discriminator_loss(nets, batch)

    def path(self, schedule: Schedule, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """Draw the times (B,) of the teacher's steps from t to u, and s (B,) between u and 0."""
        rng = batch.rng
        steps = int(batch.shared.integers(1, self.points))  # of the teacher: one number for the whole batch
        # Places on the grid are real numbers, but its two ends are as likely as any of its points.
        i = (steps + rng.uniform() * (self.points - steps)).clamp(max=self.points - 1)
        j = (rng.uniform() * (i - steps + 1) - 1).clamp(min=0)
        return [self.time(schedule, i - k) for k in range(steps + 1)], self.time(schedule, j)

    def discriminator_loss(self, nets: Nets, batch: Batch) -> Loss:
        """Return the discriminator's loss on the data and on where the student's jumps lead."""
        schedule = unwrap(nets["student"]).schedule
        (t, *_), s = self.path(schedule, batch)
        with torch.no_grad():
            x_t, _ = batch.noised(schedule, t)
            x_s = schedule.mix(*nets["student"](x_t, t, s, batch.cond), s)
            x_0 = jump(nets["target"], x_s, s, torch.zeros_like(s), batch.cond)
            real, fake = self.features(nets, batch, batch.x0, x_0)
        return self.gan.discriminator_loss(nets["discriminator"], real, fake)

    def features(self, nets: Nets, batch: Batch, *parts: Tensor) -> list[list[Tensor]]:
        """Noise batches of clean samples (B, ...) to one level, and return the teacher's features of each."""
        teacher = nets["teacher"]
        t, _ = self.gan_times.draw(batch.rng, teacher.schedule)
        return self.gan.extract_noised_features(teacher, t, batch, *parts)

    def student_loss(self, nets: Nets, batch: Batch, has_discriminator: bool) -> Loss:
        """Return the loss of the student's jumps and denoising, and the adversarial term once it is on."""
        model = unwrap(nets["student"])
        target = nets["target"]
        schedule = model.schedule
        x0 = batch.x0
        rng = batch.rng
        n = len(x0)

        # 1. Sample the teacher's path t, ..., u and s, and times t_dsm of denoising; noise for both.
        path, s = self.path(schedule, batch)
        t = path[0]
        u = path[-1]
        t_dsm = torch.where(
            rng.uniform() < 0.5,
            self.times.draw(rng, schedule)[0],
            self.time(schedule, rng.uniform() * (self.points - 1)),
        )
        x_t, _ = batch.noised(schedule, t)
        x_dsm, eps_dsm = batch.noised(schedule, t_dsm)

        # 2. The student's jump to s and on to the data, x_est, and its denoising. Both in one pass: a wrapped
        #    student counts its passes.
        p = nets["student"](
            torch.cat([x_t, x_dsm]), torch.cat([t, t_dsm]), torch.cat([s, t_dsm]), repeat_cond(batch.cond)
        )
        zero = torch.zeros_like(s)
        x_est = jump(target, schedule.mix(p.x0[:n], p.eps[:n], s), s, zero, batch.cond)

        # 3. The teacher's steps to x_u, the average's jump to s and on to the data, x_target.
        with torch.no_grad():
            x_u = x_t
            for before, after in pairwise(path):
                x_u = heun(nets["teacher"], schedule, x_u, before, after, batch.cond)
            x_target = jump(target, jump(target, x_u, u, s, batch.cond), s, zero, batch.cond)
            error = per_sample((x_est - x_target).square()).sqrt()

        # 4. The distance of the two, the discriminator's term, and the denoising error.
        denoising = per_sample(model.target(p.x0[n:] - x0, p.eps[n:] - eps_dsm, t_dsm).square()).mean()
        x_detached = x_est.detach().requires_grad_()
        terms = {"agreement": self.distance(x_detached, x_target).mean()}
        if has_discriminator:
            (features,) = self.features(nets, batch, x_detached)
            terms["gan"] = self.gan.weight * self.gan.generator_loss(nets["discriminator"](features))
        loss, logs = surrogate_loss(x_est, x_detached, terms)
        return loss + self.dsm * denoising, {
            **logs,
            "dsm": denoising,
            "gap": ((t - s) / schedule.t_max).mean(),
            **boundary(schedule, t_dsm, p.x0[n:], x0),
            **by_level("self_error", error, t / schedule.t_max),
        }

    def time(self, schedule: Schedule, place: Tensor) -> Tensor:
        """Return the time (B,) at places (B,) of the grid, from 0 for clean data to points - 1 for t_max."""
        top = ratio_of(schedule, place.new_tensor(schedule.t_max)).atan()
        return schedule.time_of((place / (self.points - 1) * top).tan()).clamp(0, schedule.t_max)

    @override
    def teacher_nfe(self) -> float:
        alone = self.gan_start if self.gan.weight else 1.0  # steps of one turn, the others are of two
        return (self.points + 3 * (1 - alone)) / (2 - alone)  # two evaluations a step, points / 2 steps

    @override
    def sampling(self) -> Sampling:
        return Sampling("ddim", "uniform", (1, 2, 4, 8))


def jump(net: Denoiser, x: Tensor, t: Tensor, s: Tensor, cond: Cond) -> Tensor:
    """Return G(x, t, s) (B, ...), which is x itself where t = s: there the network is evaluated at t_max."""
    moved = like(t > s, x) > 0
    p = net(x, torch.where(t > s, t, net.schedule.t_max), s, cond)
    return torch.where(moved, net.schedule.mix(*p, s), x)
