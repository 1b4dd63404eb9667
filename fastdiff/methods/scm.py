"""Continuous-time consistency models (Lu & Song 2024, sCM): training and distillation on TrigFlow's angle."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..core.broadcast import like
from ..core.errors import FastdiffError
from ..core.prediction import ratio_of
from .base import Law, LogNormal, Method, bare, per_sample
from .consistency import FEW, identity_at_data
from .diagnostics import boundary, by_level
from .jvp import alike, jvp


@dataclass
class SCT(Method):
    """Consistency training at gap zero (algorithm 1), for a model of any schedule.

    TrigFlow's x = cos x0 / sigma_data + sin eps and F = cos eps - sin x0 / sigma_data are the same pair (x0,
    eps) at the angle tan = sigma / (alpha sigma_data), and cos sin d/d(angle) = d/d ln(sigma / alpha).
    warmup: images over which the second half of the tangent g comes in. c: of its normalisation. differences:
    stride in ln(sigma / alpha) of central differences in the place of the exact derivative; 0 for that. A
    network that sees its time through fast waves (time_input: timestep) has a wild derivative: give it
    differences, 0.1 say, or time_input: time.
    """

    times: Law = LogNormal(-1.0, 1.4)
    warmup: int = 5_120_000
    c: float = 0.1
    differences: float = 0.0

    training: ClassVar[dict] = {"optimizer": "radam", "betas": (0.9, 0.99)}

    def __post_init__(self) -> None:
        if self.times.memory() is not None:
            raise FastdiffError(
                "times: importance is for denoising, choose lognormal, uniform or logit_normal", key="times"
            )
        for name, least in (("warmup", 0), ("differences", 0)):
            if not getattr(self, name) >= least:
                raise FastdiffError(f"{name} = {getattr(self, name)}: expected at least {least}", key=name)

    def extras(self, student, teacher):
        identity_at_data(student)
        return {"weighting": Weighting()}

    def turns(self, progress):
        return (("student", "weighting"),)

    def loss(self, turn, nets, batch, progress):
        model = bare(nets["student"])
        schedule = model.schedule
        t, _ = self.times.draw(batch.rng, schedule)
        eps = batch.rng.normal(batch.x0.shape[1:]).to(batch.x0)
        x = schedule.mix(batch.x0, eps, t)
        with alike(x):  # the same dropout mask for all passes
            p = nets["student"](x, t, torch.zeros_like(t), batch.cond)
        F, r = flow(model, *p, t), min(1.0, progress.images / self.warmup) if self.warmup else 1.0
        with torch.no_grad():
            g = self.tangent(model, F, self.path(nets, batch, x, eps, t), t, batch.cond, r)
            norm = g.flatten(1).norm(dim=1)
            target = F + g / like(norm + self.c, g)
        w = nets["weighting"](angle(model, t))
        loss = (w.exp() * per_sample((F - target).square()) - w).mean()
        return loss, {
            "weighting": w.mean(),
            **boundary(schedule, t, p.x0, batch.x0),
            **by_level("tangent", norm, t / schedule.t_max),
        }

    def path(self, nets, batch, x, eps, t):
        """The pair (x0, eps) that x moves along."""
        return batch.x0, eps

    def tangent(self, model, F, path, t, cond, r):
        """cos df/dt of f = cos x - sin F, its second half r times."""
        cos, sin = (like(wave, F) for wave in (angle(model, t).cos(), angle(model, t).sin()))
        x = cos * path[0] / model.sigma_data + sin * path[1]
        return -(cos**2) * (F - flow(model, *path, t)) - r * (
            cos * sin * x + self.derivative(model, path, t, cond)
        )

    def derivative(self, model, path, t, cond):
        """dF / d ln(sigma / alpha) along a path of constant (x0, eps)."""
        schedule = model.schedule

        def F(x, t):
            return flow(model, *model(x, t, torch.zeros_like(t), cond), t)

        if not self.differences:
            (alpha, sigma), (alpha_rate, sigma_rate) = schedule.alpha_sigma(t), schedule.rates(t)
            rate = alpha * sigma / (alpha * sigma_rate - sigma * alpha_rate)  # dt / d ln(sigma / alpha)
            x = schedule.mix(*path, t)
            return jvp(F, (x, t), (schedule.velocity(*path, t) * like(rate, x), rate))[1]
        stride, ratio = math.exp(self.differences), ratio_of(schedule, t)
        after, before = (
            schedule.time_of(ratio * by).clamp(max=schedule.t_max) for by in (stride, 1 / stride)
        )
        with torch.no_grad(), torch.autocast(t.device.type, enabled=False):
            with alike(t):
                rise = F(schedule.mix(*path, after), after)
            rise = rise - F(schedule.mix(*path, before), before)
        return rise / like((ratio_of(schedule, after) / ratio_of(schedule, before)).log(), rise)

    def sampling(self):
        return FEW


@dataclass
class SCD(SCT):
    """Consistency distillation at gap zero: x moves along the teacher's trajectory."""

    teaches: ClassVar[bool] = True

    def path(self, nets, batch, x, eps, t):
        return tuple(nets["teacher"](x, t, t, batch.cond))

    def teacher_nfe(self):
        return 1


class Weighting(nn.Module):
    """The adaptive weighting's w: a cosine series in the angle, 0 before it learns."""

    def __init__(self, terms: int = 16) -> None:
        super().__init__()
        self.series = nn.Linear(terms, 1, bias=False)
        nn.init.zeros_(self.series.weight)

    def forward(self, angle: Tensor) -> Tensor:
        orders = 2 * torch.arange(self.series.in_features, device=angle.device)
        return self.series((orders * angle[:, None]).cos().to(self.series.weight))[:, 0]


def angle(model, t: Tensor) -> Tensor:
    """TrigFlow's time."""
    alpha, sigma = model.schedule.alpha_sigma(t)
    return torch.atan2(sigma, alpha * model.sigma_data)


def flow(model, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """TrigFlow's F of a pair."""
    at = angle(model, t)
    return like(at.cos(), x0) * eps - like(at.sin(), x0) / model.sigma_data * x0
