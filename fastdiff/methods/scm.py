"""Continuous-time consistency models (sCM, Lu & Song 2024): training and distillation on TrigFlow's angle."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Cond, Denoiser
from ..core.prediction import ratio_of
from ..core.sampling import Sampling
from ..core.schedule import Schedule
from ..data.batch import Batch
from .base import Loss, Method, Nets, Progress, Turn, unwrap
from .consistency import FEW_STEPS, identity_at_data
from .diagnostics import boundary, by_level
from .distances import per_sample
from .jvp import Neighbours, Pair, directional_derivative, preserve_rng_state
from .time_sampling import LogNormal, TimeDistribution


@dataclass
class SCT(Method):
    """sCT (Lu & Song 2024, algorithm 1): continuous-time consistency training, with a gap of zero.

    The loss is exp(w) |F(x_t, t) - sg(F + g / (|g| + c))|^2 per number - w, with g = cos df/dt the tangent of
    f = cos x - sin F, and w(t) a learned weighting. TrigFlow's x = cos x0 / sigma_data + sin eps and F = cos
    eps - sin x0 / sigma_data are linear in the pair (x0, eps) on any schedule, at the angle atan(sigma /
    (alpha sigma_data)), and cos sin d/d(angle) = d/d ln(sigma / alpha). Needs images and no teacher.

    g is in units of sigma_data, so c is 0.1 sigma_data of the paper's; for data of standard deviation 0.5 the
    two are close. The paper's own times for sCT from weights of EDM have a standard deviation of 1.8.

    If a network embeds its time with high frequencies (time_input: timestep), the derivative is noisy; then
    set differences, such as 0.1, or time_input: time.

    Args:
        times: distribution of t, a key of TIME_DISTRIBUTIONS.
        warmup: number of images over which the second half of the tangent is warmed up; 0 for no warm-up.
        c: offset in the normalization g / (|g| + c).
        differences: stride in ln(sigma / alpha) of central differences that replace the exact derivative, at
            least 0; 0 for the exact derivative.
    """

    times: TimeDistribution = LogNormal(-1.0, 1.4)
    warmup: Annotated[int, Field(ge=0)] = 5_120_000
    c: float = 0.1
    differences: Annotated[float, Field(ge=0)] = 0.0

    training: ClassVar[dict[str, Any]] = {"optimizer": "radam", "betas": (0.9, 0.99)}

    @override
    def trainable_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        identity_at_data(student)
        return {"weighting": Weighting()}

    @override
    def turns(self, progress: Progress) -> tuple[Turn, ...]:
        return (("student", "weighting"),)

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        model = unwrap(nets["student"])
        schedule = model.schedule

        # 1. Sample times, noise, and x_t.
        t, _ = self.times.draw(batch.rng, schedule)
        x_t, eps = batch.noised(schedule, t)

        # 2. The output F(x_t, t), with gradients.
        with preserve_rng_state(x_t):  # the same dropout mask for all passes
            p = nets["student"](x_t, t, torch.zeros_like(t), batch.cond)
        output = flow(model, *p, t)

        # 3. The tangent g, its second half warmed up by r, and the target F- + g / (|g| + c).
        r = min(1.0, progress.images / self.warmup) if self.warmup else 1.0
        with torch.no_grad():
            g = self.tangent(model, output, self.path(nets, batch, x_t, eps, t), t, batch.cond, r)
            norm = g.flatten(1).norm(dim=1)
            target = output + g / like(norm + self.c, g)

        # 4. The squared error under the learned weighting w.
        w = nets["weighting"](angle(model, t))
        loss = (w.exp() * per_sample((output - target).square()) - w).mean()
        return loss, {
            "weighting": w.mean(),
            **boundary(schedule, t, p.x0, batch.x0),
            **by_level("tangent", norm, t / schedule.t_max),
        }

    def path(self, nets: Nets, batch: Batch, x: Tensor, eps: Tensor, t: Tensor) -> Pair:
        """Return the pair (x0, eps) of the path along which the derivative is taken; here the data's."""
        return batch.x0, eps

    def tangent(self, model: Denoiser, output: Tensor, path: Pair, t: Tensor, cond: Cond, r: float) -> Tensor:
        """Return the tangent cos df/dt (B, ...) of f = cos x - sin F, with its second half times r.

        Args:
            model: the student.
            output: F (B, ...) at time t.
            path: the pair (x0, eps) of the path.
            t: times (B,).
            cond: the condition.
            r: warm-up factor, 0 to 1.
        """
        theta = angle(model, t)
        cos = like(theta.cos(), output)
        sin = like(theta.sin(), output)
        x0, eps = path
        x = cos * x0 / model.sigma_data + sin * eps
        first = -(cos**2) * (output - flow(model, x0, eps, t))
        return first - r * (cos * sin * x + self.derivative(model, path, t, cond))

    def derivative(self, model: Denoiser, path: Pair, t: Tensor, cond: Cond) -> Tensor:
        """Return dF / d ln(sigma / alpha) (B, ...) along a path of constant (x0, eps)."""
        schedule = model.schedule

        def output(x: Tensor, t: Tensor) -> Tensor:
            return flow(model, *model(x, t, torch.zeros_like(t), cond), t)

        neighbours = self.neighbours(schedule, t) if self.differences else None
        return directional_derivative(output, schedule, path, t, rate_of_log_ratio(schedule, t), neighbours)

    def neighbours(self, schedule: Schedule, t: Tensor) -> Neighbours:
        """Return the two times of central differences, at most t_max."""
        factor = math.exp(self.differences)
        ratio = ratio_of(schedule, t)
        before, after = (
            schedule.time_of(ratio * by).clamp(max=schedule.t_max) for by in (1 / factor, factor)
        )
        return Neighbours(before, after, (ratio_of(schedule, after) / ratio_of(schedule, before)).log())

    @override
    def sampling(self) -> Sampling:
        return FEW_STEPS


@dataclass
class SCD(SCT):
    """sCD (Lu & Song 2024): continuous-time consistency distillation along the teacher's trajectory.

    The loss is that of SCT, with the derivative along the teacher's prediction (x0, eps), not along the data.
    The settings are those of SCT. Needs a teacher and images.
    """

    needs_teacher: ClassVar[bool] = True

    @override
    def path(self, nets: Nets, batch: Batch, x: Tensor, eps: Tensor, t: Tensor) -> Pair:
        return tuple(nets["teacher"](x, t, t, batch.cond))

    @override
    def teacher_nfe(self) -> int:
        return 1


class Weighting(nn.Module):
    """The learned weighting w: a cosine series in the angle, initially 0.

    Args:
        terms: number of terms of the series.
    """

    def __init__(self, terms: int = 16) -> None:
        super().__init__()
        self.series = nn.Linear(terms, 1, bias=False)
        nn.init.zeros_(self.series.weight)

    def forward(self, angle: Tensor) -> Tensor:
        """Return w (B,) at angles (B,)."""
        orders = 2 * torch.arange(self.series.in_features, device=angle.device)
        return self.series((orders * angle[:, None]).cos().to(self.series.weight))[:, 0]


def angle(model: Denoiser, t: Tensor) -> Tensor:
    """Return TrigFlow's time (B,), the angle atan(sigma / (alpha sigma_data)), at times t (B,)."""
    alpha, sigma = model.schedule.alpha_sigma(t)
    return torch.atan2(sigma, alpha * model.sigma_data)


def flow(model: Denoiser, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """Return TrigFlow's F (B, ...) = cos eps - sin x0 / sigma_data of a pair (x0, eps) at times t (B,)."""
    at = angle(model, t)
    return like(at.cos(), x0) * eps - like(at.sin(), x0) / model.sigma_data * x0


def rate_of_log_ratio(schedule: Schedule, t: Tensor) -> Tensor:
    """Return dt / d ln(sigma / alpha) at times t (B,)."""
    alpha, sigma = schedule.alpha_sigma(t)
    alpha_rate, sigma_rate = schedule.rates(t)
    return alpha * sigma / (alpha * sigma_rate - sigma * alpha_rate)
