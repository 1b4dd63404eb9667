"""Consistency trajectory models (Kim et al. 2024), with an optional adversarial term."""

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
    """CTM (Kim et al. 2024): the jump G(x_t, t, s) equals G(x_u, u, s) after the teacher's steps to x_u.

    The loss is distance(J(G(x_t, t, s)), J(G-(x_u, u, s))) + dsm |g(x_t, t, t) - x0|^2 + gan.weight times the
    generator loss, with s <= u < t, x_u from Heun steps of the teacher, G- the running average and J its jump
    from s to 0. The teacher's steps are equal in the angle atan(sigma / alpha) and begin anywhere: from a
    fixed grid (the paper's is Karras') a student learns only the jumps between its points. The paper balances
    the terms by their gradients instead, and its distance is lpips.

    The student gets a second time as input. Needs a teacher and images.

    Args:
        points: number of points of the teacher's grid, at least 2.
        mu: decay of the running average in [0, 1).
        distance: distance between the two ends as data, a key of DISTANCES.
        dsm: weight of the denoising loss, at least 0.
        times: distribution of half of the denoising times, a key of TIME_DISTRIBUTIONS; the angles of the
            other half are uniform.
        gan: settings of the adversarial term, see Adversary; its discriminator takes the teacher's features
            of the data at which jumps end, noised.
        gan_times: distribution of the times to which they are noised.
        gan_start: fraction of the training after which the discriminator is added, 0 to 1.
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

    @property
    @override
    def depends_on_length(self) -> bool:
        return self.gan.weight > 0 and self.gan_start > 0

    def has_discriminator(self, progress: Progress) -> bool:
        """Return whether the discriminator is trained at this progress."""
        return self.gan.weight > 0 and progress.fraction >= self.gan_start

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        if "student" in turn:
            return self.student_loss(nets, batch, self.has_discriminator(progress))
        return self.discriminator_loss(nets, batch)

    def path(self, schedule: Schedule, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """Draw the times (B,) of the teacher's steps from t to u, and s (B,) between u and 0."""
        rng = batch.rng
        steps = int(batch.shared.integers(1, self.points))  # teacher's steps: one number for the whole batch
        # Places on the grid are real numbers; each of its two ends has the probability of one point.
        i = (steps + rng.uniform() * (self.points - steps)).clamp(max=self.points - 1)
        j = (rng.uniform() * (i - steps + 1) - 1).clamp(min=0)
        return [self.time(schedule, i - k) for k in range(steps + 1)], self.time(schedule, j)

    def discriminator_loss(self, nets: Nets, batch: Batch) -> Loss:
        """Return the discriminator's loss on the data and on the ends of the student's jumps."""
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
        """Return the student's loss: jumps, denoising and, with a discriminator, the adversarial term."""
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

        # 2. The student's jump to s and on to the data, x_est, and its denoising. Both in one pass, since a
        #    data-parallel wrapper allows one only.
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
        """Return the times (B,) at places (B,) of the grid, from 0 for clean data to points - 1 for t_max."""
        top = ratio_of(schedule, place.new_tensor(schedule.t_max)).atan()
        return schedule.time_of((place / (self.points - 1) * top).tan()).clamp(0, schedule.t_max)

    @override
    def teacher_nfe(self) -> float:
        # The fraction of steps with one turn; the others have two. The student's turn has points / 2 steps of
        # Heun's method on average, with two evaluations each.
        single = self.gan_start if self.gan.weight else 1.0
        return (self.points + 3 * (1 - single)) / (2 - single)

    @override
    def sampling(self) -> Sampling:
        return Sampling("ddim", "uniform", (1, 2, 4, 8))


def jump(net: Denoiser, x: Tensor, t: Tensor, s: Tensor, cond: Cond) -> Tensor:
    """Return G(x, t, s) (B, ...), x itself where t = s (the network is evaluated at t_max there)."""
    moved = like(t > s, x) > 0
    p = net(x, torch.where(t > s, t, net.schedule.t_max), s, cond)
    return torch.where(moved, net.schedule.mix(*p, s), x)
