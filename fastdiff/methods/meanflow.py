"""MeanFlow (Geng et al. 2025, "Mean flows for one-step generative modeling"), and improved MeanFlow."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError
from ..core.extra_inputs import with_second_time
from ..core.prediction import Prediction
from ..core.rng import SampleRng
from ..core.sampling import Sampling
from ..core.schedule import Flow, Schedule
from ..data.batch import Batch
from .base import Fraction, Loss, Method, Nets, Progress, Turn, guided, unwrap
from .diagnostics import by_level
from .jvp import Neighbours, Pair, directional_derivative, preserve_rng_state
from .label_dropout import drop_labels
from .time_sampling import LogitNormal, TimeDistribution

LINE = Flow()


@dataclass
class MeanFlow(Method):
    """MeanFlow (Geng et al. 2025, algorithm 1): the average velocity u(z_t, r, t) from t back to r.

    The loss is S / sg(S + c)^p with S = |u - sg(v - (t - r) du/dt)|^2, v = e - x the velocity of the straight
    line z_t = (1 - t) x + t e, and u = eps - x0 of the student's jump, on any schedule; the logged error is
    S. With guidance v is omega v + kappa u(z, t, t) + (1 - omega - kappa) u_null(z, t, t) (appendix B), also
    in du/dt; with a teacher's velocity, the teacher's. The student gets a second time as input. Needs images,
    and a teacher for its velocity only.

    If a network embeds its time with high frequencies (time_input: timestep), the exact derivative is noisy;
    then differences: 0.03 works better.

    Args:
        times: distribution of two times on the straight line, of which the larger is t and the smaller r; a
            key of TIME_DISTRIBUTIONS.
        end_times: distribution of r; then t is of `times` alone, and r is cut at t. Null for the paper's law;
            the authors' second repository has times: {name: logit_normal, mean: -0.6, std: 1.6} and
            end_times: {name: logit_normal, mean: -4.0, std: 1.6}.
        share: fraction of the examples with r = t, where u is the velocity itself; in [0, 1).
        p: exponent of the weight 1 / (S + c)^p, at least 0.
        c: offset in the weight, above 0.
        differences: stride in the line's time of central differences that replace the exact derivative, in
            [0, 1); 0 for the exact derivative.
        velocity: whose velocity v is: sample, for e - x, or teacher, for the teacher's at z_t. A teacher's
            has no noise, for which p = 0.75 is made: 0.5 is better.
        omega: weight of v in a guided velocity, above 0; of the teacher's, its guidance weight. 1 for no
            guidance.
        kappa: weight of the student's own velocity with its condition, in [0, 1); 0 with a teacher's.
        interval: times of the straight line (low, high) between which guidance is used.
        label_dropout: fraction of examples that are trained with the null class or the empty prompt, and
            without guidance.
    """

    times: TimeDistribution = LogitNormal(-2.0, 2.0)
    end_times: TimeDistribution | None = None
    share: Annotated[float, Field(ge=0, lt=1)] = 0.25
    p: Annotated[float, Field(ge=0)] = 0.75
    c: Annotated[float, Field(gt=0)] = 1e-3
    differences: Annotated[float, Field(ge=0, lt=1)] = 0.0
    velocity: Literal["sample", "teacher"] = "sample"
    omega: Annotated[float, Field(gt=0)] = 1.0
    kappa: Annotated[float, Field(ge=0, lt=1)] = 0.0
    interval: tuple[float, float] = (0.0, 1.0)
    label_dropout: Fraction = 0.1

    first_defaults: ClassVar[dict[str, Any]] = {"label_dropout": 0.0}
    training: ClassVar[dict[str, Any]] = {"lr_schedule": "cosine"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kappa and self.velocity == "teacher":
            raise FastdiffError(
                f"kappa = {self.kappa:g}: expected 0 with a teacher's velocity, which omega guides",
                key="kappa",
            )

    @property
    @override
    def needs_teacher(self) -> bool:
        """Whether the velocity is the teacher's."""
        return self.velocity == "teacher"

    @override
    def teacher_nfe(self) -> float:
        return (1 if self.omega == 1 else 2) if self.needs_teacher else 0

    @override
    def student(self, model: Denoiser) -> Denoiser:
        return with_second_time(model)

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        model = unwrap(nets["student"])
        schedule = model.schedule

        # 1. Sample times r <= t, noise e, and z_t, and drop some labels.
        t, r = self.pair(batch.rng, schedule)
        z, e = batch.noised(schedule, t)
        cond, drop = drop_labels(model, batch, self.label_dropout)
        gap = schedule.straight(t) - schedule.straight(r)

        # 2. The average velocity u, with gradients.
        with preserve_rng_state(z):  # the same dropout mask for all passes
            u = velocity_of(nets["student"](z, t, r, cond))

        # 3. Its target v - (t - r) du/dt, without.
        with torch.no_grad():
            line = self.line(nets, z, t, cond, drop, (batch.x0, e))
            with preserve_rng_state(z):
                path = self.path(model, z, t, cond, line)
            slope = like(gap, z) * self.derivative(model, path, t, r, cond)  # (t - r) du/dt
            u_target = velocity_of(line) - slope

        # 4. The weighted squared error.
        square = (u - u_target).flatten(1).square().sum(1)
        loss = (square / (square.detach() + self.c) ** self.p).mean()
        at_rest = (gap == 0).to(square)
        return loss, {
            "tangent": slope.flatten(1).norm(dim=1).mean(),
            "gap": gap.mean(),
            "boundary": (square.detach() * at_rest).sum() / at_rest.sum().clamp(min=1),
            **by_level("error", square.detach(), schedule.straight(t)),
        }

    def pair(self, rng: SampleRng, schedule: Schedule) -> tuple[Tensor, Tensor]:
        """Draw times t and r <= t of the schedule, each (B,)."""
        one, _ = self.times.draw(rng, LINE)
        other, _ = (self.end_times or self.times).draw(rng, LINE)
        t = one if self.end_times else torch.maximum(one, other)
        r = torch.where(rng.uniform() < self.share, t, torch.minimum(one, other))
        return schedule.time_of_flow(t), schedule.time_of_flow(r)

    def line(self, nets: Nets, z: Tensor, t: Tensor, cond: Cond, drop: Tensor | None, sample: Pair) -> Pair:
        """Return the pair (x0, eps) through z = z_t whose velocity is v.

        Args:
            nets: all networks by role.
            z: noised samples (B, ...).
            t: times (B,) of the schedule.
            cond: condition, with some labels dropped.
            drop: which examples (B,) lost their labels, and take no guidance; None for no example.
            sample: the data and the noise (B, ...) of the samples.
        """
        schedule = unwrap(nets["student"]).schedule
        if self.velocity == "sample" and self.omega == 1 and not self.kappa:
            return sample
        place = schedule.straight(t)
        low, high = self.interval
        guides = (place >= low) & (place <= high)
        guides = guides if drop is None else guides & ~drop
        if self.velocity == "teacher":
            weight = like(torch.where(guides, self.omega, 1.0), z) if self.omega != 1 else 1.0
            return tuple(guided(nets["teacher"], z, t, t, cond, weight))
        with preserve_rng_state(z):
            model = unwrap(nets["student"])
            own, null = model(z, t, t, cond), model(z, t, t, model.null(cond))
        mixed = (
            self.omega * v + self.kappa * a + (1 - self.omega - self.kappa) * b
            for v, a, b in zip(sample, own, null, strict=True)
        )
        return tuple(torch.where(like(guides, z) > 0, both, v) for both, v in zip(mixed, sample, strict=True))

    def path(self, model: Denoiser, z: Tensor, t: Tensor, cond: Cond, line: Pair) -> Pair:
        """Return the pair (x0, eps) of the line along which the derivative is taken; here that of v."""
        return line

    def derivative(self, model: Denoiser, path: Pair, t: Tensor, r: Tensor, cond: Cond) -> Tensor:
        """Return du/dt (B, ...) along the straight line of a pair (x0, eps), at constant r."""
        schedule = model.schedule

        def u(z: Tensor, t: Tensor) -> Tensor:
            return velocity_of(model(z, t, r, cond))

        neighbours = self.neighbours(schedule, t, r) if self.differences else None
        return directional_derivative(u, schedule, path, t, rate_of_line(schedule, t), neighbours)

    def neighbours(self, schedule: Schedule, t: Tensor, r: Tensor) -> Neighbours:
        """Return the two times of central differences, between r and t_max."""
        at = schedule.straight(t)
        top = schedule.straight(t.new_tensor(schedule.t_max))
        late = torch.minimum(at + self.differences, top)
        early = torch.maximum(at - self.differences, schedule.straight(r))  # a jump starts after its end r
        stride = (late - early).clamp(min=1e-9)  # 0 at the top if r = t, where the numerator is 0 too
        return Neighbours(schedule.time_of_flow(early), schedule.time_of_flow(late), stride)

    @override
    def sampling(self) -> Sampling:
        return Sampling("ddim", "uniform", (1, 2, 4, 8))


@dataclass
class IMF(MeanFlow):
    """Improved MeanFlow (Geng et al. 2025, "Improved mean flows"): the derivative uses a predicted velocity.

    The loss is that of MeanFlow, with du/dt along the velocity u(z, t, t) that the student itself predicts.
    Then the regression function u + (t - r) sg(du/dt) depends on z and the times only. The settings are those
    of MeanFlow with other defaults. Needs images, and a teacher for its velocity only.

    This is the paper's variant without a second head for v; the guidance scale and interval, which the
    authors' networks take as inputs, are constants here.
    """

    times: TimeDistribution = LogitNormal(-0.4, 1.0)
    share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    p: Annotated[float, Field(ge=0)] = 1.0
    c: Annotated[float, Field(gt=0)] = 1e-2

    @override
    def path(self, model: Denoiser, z: Tensor, t: Tensor, cond: Cond, line: Pair) -> Pair:
        return tuple(model(z, t, t, cond))


def velocity_of(line: Pair | Prediction) -> Tensor:
    """Return the velocity eps - x0 (B, ...) of the straight line through a pair (x0, eps)."""
    x0, eps = line
    return eps - x0


def rate_of_line(schedule: Schedule, t: Tensor) -> Tensor:
    """Return dt / du (B,) at times t (B,), with u the straight line's time."""
    alpha, sigma = schedule.alpha_sigma(t)
    alpha_rate, sigma_rate = schedule.rates(t)
    return (alpha + sigma) ** 2 / (sigma_rate * alpha - sigma * alpha_rate)
