"""Consistency training and distillation (Song et al. 2023) with the shrinking gap of ECT (Geng et al. 2024)."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from ..denoiser import Sampling
from ..errors import FastdiffError
from .base import Law, Method, Uniform, bare, pseudo_huber


@dataclass
class ECT(Method):
    """Consistency training: the student agrees with itself a little nearer the data, on the straight path of (x0, eps).

    The gap t - s starts at `start` of t and halves `halvings` times over training. huber: c of the distance, in units of
    the root of the data's dimension.
    """

    times: Law = field(default_factory=Uniform)
    start: float = 0.5
    halvings: int = 8
    huber: float = 0.00054

    training: ClassVar[dict] = {"optimizer": "radam", "decay": "cosine"}

    def __post_init__(self):
        if self.times.memory() is not None:
            raise FastdiffError("times: importance is for denoising, choose uniform, lognormal or logit_normal")
        if not 0 < self.start <= 1:
            raise FastdiffError(f"start = {self.start}: expected a share of t, above 0 and at most 1")

    def extras(self, student, teacher):
        if student.predicts in ("x0", "eps"):
            raise FastdiffError(f"consistency needs f(x, 0) = x, which a model that predicts {student.predicts} does not "
                                "have: choose v, velocity or edm")
        return {}

    def loss(self, turn, nets, batch, progress):
        model = bare(nets["student"])
        schedule, x0 = model.schedule, batch.x0
        t, _ = self.times.draw(batch.rng, schedule, None)
        s = t * (1 - self.gap(progress))
        eps = batch.rng.normal(x0.shape[1:]).to(x0)
        x = schedule.mix(x0, eps, t)
        # The pass with gradients comes first: older autocasts keep the weights that one without has cast, and lose them.
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):      # the same dropout mask for both
            p = nets["student"](x, t, torch.zeros_like(t), batch.cond)
        with torch.no_grad():
            target = model(self.nearer(nets, batch, x, eps, t, s), s, torch.zeros_like(s), batch.cond).x0
        distance = pseudo_huber(p.x0 - target, self.huber * math.sqrt(x0[0].numel()))
        return (distance * schedule.t_max / (t - s)).mean(), {"gap": ((t - s) / schedule.t_max).mean()}

    def gap(self, progress) -> float:
        """The share of t between t and s."""
        return self.start * 2.0 ** -min(int(progress.fraction * (self.halvings + 1)), self.halvings)

    def nearer(self, nets, batch, x, eps, t, s):
        """x_s of the same data and noise."""
        return bare(nets["student"]).schedule.mix(batch.x0, eps, s)

    def sampling(self):
        return Sampling("consistency", "uniform", (1, 2, 4, 8))


@dataclass
class CD(ECT):
    """Consistency distillation: x_s is one DDIM step of the teacher from x_t."""

    teaches: ClassVar[bool] = True

    def nearer(self, nets, batch, x, eps, t, s):
        return bare(nets["student"]).schedule.mix(*nets["teacher"](x, t, s, batch.cond), s)

    def teacher_nfe(self):
        return 1
