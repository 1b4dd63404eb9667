"""Matching of distributions: at every level of noise what a student makes is to look as the data do.

Two networks tell the difference: the teacher, and a fake that learns the same of the student's samples.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..core.broadcast import like
from ..core.errors import FastdiffError
from ..core.extra_inputs import with_second_time
from ..core.sampling import Sampling
from ..data.registry import Batch
from ..samplers import time_grid
from .adversarial import Adversary, pulled
from .base import Law, Method, Uniform, after, bare, copied, guided, numbers_of_steps, per_sample, twice
from .diagnostics import coverage, spread


@dataclass
class Matching(Method):
    """A kind of it says what two predictions of a noised sample, the teacher's and the fake's, make of the loss.

    steps: numbers of steps that the student is trained for; it learns one jump of a walk of its own at a
    time, and the fake is told which by a second time, where there are several. spacing: of its grids. times:
    law of the noise levels where both are compared; fake_times: where fake and critic learn. fake_turns: of
    these, a turn of the student. guidance: of the teacher, 1 being none. gan: a critic on the fake's
    features; critic_weight: of its loss beside the fake's own.
    """

    steps: tuple[int, ...] = (1,)
    spacing: str = "uniform"
    times: Law = Uniform(0.02, 0.98)
    fake_times: Law = Uniform(0.001, 1.0)
    fake_turns: int = 5
    guidance: float = 1.0
    gan: Adversary = Adversary()
    critic_weight: float = 0.01

    training: ClassVar[dict] = {"betas": (0.0, 0.999)}
    teaches: ClassVar[bool] = True
    through: ClassVar[bool] = False  # the loss leads back through the teacher and the fake

    def __post_init__(self) -> None:
        for what in ("times", "fake_times"):
            if getattr(self, what).memory() is not None:
                raise FastdiffError(
                    f"{what}: importance is for denoising, choose uniform, lognormal or karras", key=what
                )
        numbers_of_steps(self.steps)
        if self.fake_turns < 1 or not self.critic_weight >= 0:
            raise FastdiffError(
                f"fake_turns = {self.fake_turns}, critic_weight = {self.critic_weight}: expected at least "
                "1, and a weight of 0 or more",
                key="fake_turns",
            )

    @property
    def needs_images(self) -> bool:
        return self.gan.weight > 0

    @property
    def cycle(self) -> int:
        return self.fake_turns

    def extras(self, student, teacher):
        for steps in self.steps:
            time_grid(student.schedule, steps, self.spacing)  # refused now
        # Samples of different jumps differ: pooled, they could be shared out between them, and each alone be
        # wrong.
        fake = with_second_time(copied(teacher)) if sum(self.steps) > 1 else copied(teacher)
        return {"fake": fake} | self.gan.extras(fake)

    def turns(self, progress):
        return after(("fake", "critic") if self.gan.weight else ("fake",), self.fake_turns, progress)

    def loss(self, turn, nets, batch, progress):
        return self.match(nets, batch) if "student" in turn else self.tell(nets, batch)

    # ---- the fake's turn

    def tell(self, nets, batch):
        """The fake learns to denoise the student's samples, the critic to tell them from the data."""
        model, rng = bare(nets["fake"]).train(), batch.rng
        with torch.no_grad():
            x, jump = made(nets["student"], self, batch)
        t, eps, cond = self.fake_times.draw(rng, model.schedule)[0], rng.normal(x.shape[1:]).to(x), batch.cond
        y, at, told = model.schedule.mix(x, eps, t), t, cond
        if self.gan.weight:  # one pass: a wrapped network counts them
            other, noise = self.fake_times.draw(rng, model.schedule)[0], rng.normal(x.shape[1:]).to(x)
            y, at, told = (
                torch.cat([y, model.schedule.mix(batch.x0, noise, other)]),
                torch.cat([t, other]),
                twice(cond),
            )
        with self.gan.tapped(model) as features:
            p = nets["fake"](y, at, self.second(at, jump), told)
        n = len(x)
        loss = per_sample(model.target(p.x0[:n] - x, p.eps[:n] - eps, t).square()).mean()
        if not self.gan.weight:
            return loss, {"dsm": loss}
        verdict, logs = self.gan.telling(nets["critic"], [f[n:] for f in features], [f[:n] for f in features])
        return loss + self.critic_weight * verdict, {"dsm": loss, **logs}

    def second(self, t, jump):
        """The second time that the fake is asked with: of one step its own, as a teacher is."""
        return jump.expand_as(t) if sum(self.steps) > 1 else t

    # ---- the student's turn

    def match(self, nets, batch):
        """The student's samples follow the difference of the two, and the critic."""
        (x, jump), rng, fake = made(nets["student"], self, batch), batch.rng, nets["fake"].eval()
        t, eps = self.times.draw(rng, fake.schedule)[0], rng.normal(x.shape[1:]).to(x)
        leaf = x.detach().requires_grad_()
        y = fake.schedule.mix(leaf, eps, t)
        with torch.set_grad_enabled(self.through):
            real = guided(nets["teacher"], y, t, t, batch.cond, self.guidance).x0
        with torch.set_grad_enabled(self.through or self.gan.weight > 0), self.gan.tapped(fake) as features:
            mine = fake(y, t, self.second(t, jump), batch.cond).x0
        logits = nets["critic"](features) if self.gan.weight else None
        terms = {"matching": self.matching(nets, leaf, real, mine, t, logits)}
        if self.gan.weight:
            terms["gan"] = self.gan.weight * self.gan.fooling(logits)
        loss, logs = pulled(x, leaf, terms)
        return loss, logs | {
            "lag": lag(leaf, real, mine),
            "coverage": coverage(batch.x0, leaf),
            "spread": spread(leaf),
        }

    def matching(
        self,
        nets: dict[str, nn.Module],
        x: Tensor,
        real: Tensor,
        fake: Tensor,
        t: Tensor,
        logits: Tensor | None,
    ) -> Tensor:
        """The loss of samples x (B, ...) by what teacher and fake see in them at times t (B,)."""
        raise NotImplementedError

    def teacher_nfe(self):
        return (1 if self.guidance == 1 else 2) / (self.fake_turns + 1)  # in one of these batches

    def sampling(self):
        return Sampling("consistency", self.spacing, self.steps, only=True)


def made(student: nn.Module, method: Matching, batch: Batch) -> tuple[Tensor, Tensor]:
    """Samples (B, ...) of the student, with a gradient through the last jump alone (backward simulation), and its time ().

    They come of a walk of one of its numbers of steps, which ends at any of its points, alike for the whole
    batch.
    """
    model, rng, cond = bare(student), batch.rng, batch.cond
    steps = method.steps[int(batch.shared.integers(0, len(method.steps)))]
    grid, last = time_grid(model.schedule, steps, method.spacing), int(batch.shared.integers(0, steps))
    noise = rng.normal(batch.x0.shape[1:]).to(batch.x0)
    x = like(model.schedule.alpha_sigma(grid[0])[1], noise) * noise
    zero = torch.zeros_like(grid[0])
    with torch.no_grad():
        for t, s in zip(grid[:last], grid[1:]):
            x = model.schedule.mix(model(x, t, zero, cond).x0, rng.normal(x.shape[1:]).to(x), s)
    torch.clear_autocast_cache()  # older ones keep casts without a way back
    return student(x, grid[last], zero, cond).x0, grid[last].to(x.device)


def lag(x: Tensor, real: Tensor, fake: Tensor) -> Tensor:
    """How far a fake is behind the samples x: how its error correlates with its way to the teacher, in the mean 0 if not.

    A posterior mean is at right angles with whatever the noised sample tells: E <x - fake, real - fake> = 0.
    """
    error, way = (x - fake).detach(), (real - fake).detach()
    return (error * way).sum() / (error.norm() * way.norm()).clamp(min=1e-30)
