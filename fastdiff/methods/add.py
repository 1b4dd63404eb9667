"""Adversarial distillation: of clean pictures, ADD (Sauer et al. 2023), and of noised samples, LADD (Sauer et al. 2024)."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from ..core.broadcast import like
from ..core.errors import FastdiffError
from ..core.sampling import Sampling
from ..samplers import time_grid
from .adversarial import Adversary, pulled
from .base import Law, LogitNormal, Method, Uniform, after, bare, guided, numbers_of_steps, per_sample
from .diagnostics import coverage, spread
from .discriminator_features import FeatureNetwork, Teachers


@dataclass
class LADD(Method):
    """A critic on the teacher's features tells the student's samples from the data, both noised to one random level.

    The student denoises the data from the times of its grids alone, and its samples from one time are judged among
    themselves: together they could be like the data and not so from any time. steps: numbers of steps that it is trained
    for; spacing: of its grids; times: law of the levels. critic_turns: of the critic, a turn of the student.
    """

    steps: tuple[int, ...] = (1, 2, 4)
    spacing: str = "uniform"
    times: Law = LogitNormal()
    critic_turns: int = 1
    gan: Adversary = Adversary(weight=1.0, loss="hinge")

    training: ClassVar[dict] = {"betas": (0.0, 0.99)}
    teaches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.times.memory() is not None:
            raise FastdiffError(
                "times: importance is for denoising, choose logit_normal, uniform or lognormal", key="times"
            )
        numbers_of_steps(self.steps)
        if self.critic_turns < 1:
            raise FastdiffError(
                f"critic_turns = {self.critic_turns}: expected at least 1", key="critic_turns"
            )
        if not self.gan.weight:
            raise FastdiffError(
                "gan: the critic is what this method learns from: expected a weight above 0", key="gan"
            )

    @property
    def cycle(self) -> int:
        return self.critic_turns

    def extras(self, student, teacher):
        return {
            "critic": self.critic(student, teacher, len(torch.cat(self.grids(student.schedule)).unique()))
        }

    def turns(self, progress):
        return after(("critic",), self.critic_turns, progress)

    def loss(self, turn, nets, batch, progress):
        with torch.set_grad_enabled("student" in turn):
            x, kind, drawn = self.made(nets["student"], batch)
        if "critic" in turn:
            with torch.no_grad():
                real, made = self.seen(nets, batch, batch.x0, x)
            return self.gan.telling(partial(nets["critic"], kind=kind.repeat(2)), real, made)
        leaf = x.detach().requires_grad_()
        loss, logs = pulled(x, leaf, self.terms(nets, batch, leaf, kind))
        return loss, logs | {
            "coverage": coverage(batch.x0[drawn], leaf[drawn]),
            "spread": spread(leaf[drawn]),
        }

    def grids(self, schedule):
        """The times where the student is asked, by number of steps."""
        return [time_grid(schedule, steps, self.spacing)[:-1] for steps in self.steps]

    def made(self, student, batch):
        """The student's samples (B, ...) from a time each, which of the times that is, and which came of noise alone."""
        schedule, rng, grids = bare(student).schedule, batch.rng, self.grids(bare(student).schedule)
        times, kinds = torch.cat(grids).unique(return_inverse=True)
        first = torch.cat([torch.arange(len(grid)) == 0 for grid in grids])
        i = rng.integers(0, len(kinds))
        kind, drawn = kinds.to(i.device)[i], first.to(i.device)[i]
        t = times.to(i.device)[kind]
        x = schedule.mix(batch.x0 * like(~drawn, batch.x0), rng.normal(batch.x0.shape[1:]).to(batch.x0), t)
        return student(x, t, torch.zeros_like(t), batch.cond).x0, kind, drawn

    def critic(self, student, teacher, kinds):
        return self.gan.critic(teacher, kinds=kinds)

    def seen(self, nets, batch, *parts):
        """What the critic sees of batches of samples."""
        teacher = nets["teacher"]
        return self.gan.seen_noised(teacher, self.times.draw(batch.rng, teacher.schedule)[0], batch, *parts)

    def terms(self, nets, batch, x, kind):
        """The student's loss of samples x, term by term."""
        (features,) = self.seen(nets, batch, x)
        return {"gan": self.gan.weight * self.gan.fooling(nets["critic"](features, kind))}

    def teacher_nfe(self):
        return (2 * self.critic_turns + 1) / (self.critic_turns + 1)  # two in a critic's turn, one in its own

    def sampling(self):
        return Sampling("consistency", self.spacing, self.steps, only=True)


@dataclass
class ADD(LADD):
    """The critic sees clean samples, by the network features_of; and samples are drawn to what the teacher sees in them.

    times: law of the levels where the teacher is asked; distill: weight of the squared distance, times alpha
    there (the paper's exponential weighting). guidance: of the teacher, 1 being none.
    """

    times: Law = Uniform(0.02, 0.98)
    gan: Adversary = Adversary(weight=1.0, loss="hinge", r1=1e-3)
    features_of: FeatureNetwork = Teachers()
    distill: float = 1.0
    guidance: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.distill >= 0:
            raise FastdiffError(f"distill = {self.distill}: expected a weight of 0 or more", key="distill")

    def critic(self, student, teacher, kinds):
        return self.features_of.critic(self.gan, student, teacher, kinds)

    def frozen(self, student, teacher):
        return self.features_of.frozen(student)

    def seen(self, nets, batch, *parts):
        return self.features_of.seen(self.gan, nets, batch, *parts)

    def terms(self, nets, batch, x, kind):
        teacher, rng = nets["teacher"], batch.rng
        t = self.times.draw(rng, teacher.schedule)[0]
        with torch.no_grad():
            y = teacher.schedule.mix(x, rng.normal(x.shape[1:]).to(x), t)
            target = guided(teacher, y, t, t, batch.cond, self.guidance).x0
        error = per_sample(like(teacher.schedule.alpha_sigma(t)[0], x) * (x - target).square())
        return super().terms(nets, batch, x, kind) | {"distill": self.distill * error.mean()}

    def teacher_nfe(self):
        looks = super().teacher_nfe() if isinstance(self.features_of, Teachers) else 0
        return looks + (1 if self.guidance == 1 else 2) / (self.critic_turns + 1)
