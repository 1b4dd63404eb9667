"""Consistency models (Song et al. 2023) on continuous times: ECT's shrinking gap (Geng et al. 2024), and distillation."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch

from ..core.denoiser import ratio_of
from ..core.errors import FastdiffError
from .base import FEW, Consistency, Distance, Law, PseudoHuber, Uniform, bare, heun
from .time_sampling import KarrasIndex


@dataclass
class ECT(Consistency):
    """Consistency training with a gap that shrinks.

    The gap t - s starts at `start` of t and halves `halvings` times over training. The paper's r(t) is k = 8: near the data
    the gap is n(t) = 1 + k sigmoid(-b sigma / alpha) times as wide. images: seen between two halvings, the paper has
    3,200,000; 0 for equal shares of the training. On a grid (times: karras) s is the point below t, whatever the gap.
    """

    times: Law = field(default_factory=Uniform)
    start: float = 0.5
    halvings: int = 8
    distance: Distance = PseudoHuber()
    k: float = 0.0
    b: float = 1.0
    images: int = 0

    training: ClassVar[dict] = {"optimizer": "radam", "decay": "cosine"}

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.start <= 1:
            raise FastdiffError(f"start = {self.start}: expected a share of t, above 0 and at most 1")

    def pair(self, rng, schedule, progress):
        t, s = self.times.pair(rng, schedule)
        return t, self.below(schedule, t, progress) if s is None else s

    def below(self, schedule, t, progress):
        """s, at a gap of share gap n(t) of t."""
        n = 1 + self.k * torch.sigmoid(-self.b * ratio_of(schedule, t))
        return t * (1 - self.gap(progress) * n).clamp(min=0)

    def gap(self, progress) -> float:
        """The share of t between t and s, before n(t)."""
        stage = progress.images // self.images if self.images else int(progress.fraction * (self.halvings + 1))
        return self.start * 2.0 ** -min(stage, self.halvings)

    def width(self, schedule, t, s):
        return (t - s) / schedule.t_max

    def sampling(self):
        return FEW if isinstance(self.times, KarrasIndex) else super().sampling()


@dataclass
class CD(ECT):
    """Consistency distillation: x_s is one step of the teacher from x_t. mu: decay of the target average; 0, the student.

    The paper's ImageNet setting is times: {name: karras, points: 40}, solver: heun, mu: 0.95; on a grid all pairs weigh 1.
    """

    solver: Literal["euler", "heun"] = "euler"
    mu: float = 0.0

    teaches: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.mu < 1:
            raise FastdiffError(f"mu = {self.mu}: expected a decay, 0 to less than 1")

    def averages(self):
        return {"target": lambda progress: self.mu} if self.mu else {}

    def nearer(self, nets, batch, x, eps, t, s):
        """The teacher's step; both kinds are exact where (x0, eps) is constant on the way."""
        schedule, teacher = bare(nets["student"]).schedule, nets["teacher"]
        if self.solver == "heun":
            return heun(teacher, schedule, x, t, s, batch.cond)
        return schedule.mix(*teacher(x, t, s, batch.cond), s)

    def width(self, schedule, t, s):
        return torch.ones_like(t) if isinstance(self.times, KarrasIndex) else super().width(schedule, t, s)

    def teacher_nfe(self):
        return {"euler": 1, "heun": 2}[self.solver]
