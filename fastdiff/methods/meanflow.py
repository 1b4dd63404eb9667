"""MeanFlow (Geng et al. 2025, "Mean flows for one-step generative modeling"), and improved MeanFlow."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Cond, Denoiser
from ..core.extra_inputs import with_second_time
from ..core.prediction import Prediction
from ..core.rng import SampleRng
from ..core.sampling import Sampling
from ..core.schedule import Flow, Schedule
from ..data.batch import Batch
from .base import Loss, Method, Nets, Progress, Turn, unwrap
from .diagnostics import by_level
from .jvp import Neighbours, Pair, directional_derivative, preserve_rng_state
from .time_sampling import LogitNormal, TimeDistribution

LINE = Flow()


@dataclass
class MeanFlow(Method):
    """MeanFlow (Geng et al. 2025, algorithm 1): the average velocity u(z_t, r, t) from t back to r.

    The loss is S / sg(S + c)^p with S = |u - sg(v - (t - r) du/dt)|^2, v = e - x the velocity of the straight
    line z_t = (1 - t) x + t e, and u = eps - x0 of the student's jump, on any schedule; the logged error is
    S. The student gets a second time as input. Needs images and no teacher.

    If a network embeds its time with high frequencies (time_input: timestep), the exact derivative is noisy;
    then differences: 0.03 works better.

    Args:
        times: distribution of two times on the straight line, of which the larger is t and the smaller r; a
            key of TIME_DISTRIBUTIONS.
        share: fraction of the examples with r = t, where u is the velocity itself; in [0, 1).
        p: exponent of the weight 1 / (S + c)^p, at least 0.
        c: offset in the weight, above 0.
        differences: stride in the line's time of central differences that replace the exact derivative, in
            [0, 1); 0 for the exact derivative.
    """

    times: TimeDistribution = LogitNormal(-2.0, 2.0)
    share: Annotated[float, Field(ge=0, lt=1)] = 0.25
    p: Annotated[float, Field(ge=0)] = 0.75
    c: Annotated[float, Field(gt=0)] = 1e-3
    differences: Annotated[float, Field(ge=0, lt=1)] = 0.0

    training: ClassVar[dict[str, Any]] = {"lr_schedule": "cosine"}

    @override
    def student(self, model: Denoiser) -> Denoiser:
        return with_second_time(model)

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        model = unwrap(nets["student"])
        schedule = model.schedule
        x = batch.x0
        cond = batch.cond

        # 1. Sample times r <= t, noise e, and z_t.
        t, r = self.pair(batch.rng, schedule)
        z, e = batch.noised(schedule, t)
        gap = schedule.straight(t) - schedule.straight(r)

        # 2. The average velocity u, with gradients.
        with preserve_rng_state(z):  # the same dropout mask for all passes
            u = average_velocity(nets["student"](z, t, r, cond))

        # 3. Its target v - (t - r) du/dt, without.
        with torch.no_grad():
            with preserve_rng_state(z):
                path = self.path(model, z, t, cond, (x, e))
            slope = like(gap, z) * self.derivative(model, path, t, r, cond)  # (t - r) du/dt
            u_target = e - x - slope

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
        other, _ = self.times.draw(rng, LINE)
        t = torch.maximum(one, other)
        r = torch.where(rng.uniform() < self.share, t, torch.minimum(one, other))
        return schedule.time_of_flow(t), schedule.time_of_flow(r)

    def path(self, model: Denoiser, z: Tensor, t: Tensor, cond: Cond, sample: Pair) -> Pair:
        """Return the pair (x0, eps) of the line along which the derivative is taken; here the sample's."""
        return sample

    def derivative(self, model: Denoiser, path: Pair, t: Tensor, r: Tensor, cond: Cond) -> Tensor:
        """Return du/dt (B, ...) along the straight line of a pair (x0, eps), at constant r."""
        schedule = model.schedule

        def u(z: Tensor, t: Tensor) -> Tensor:
            return average_velocity(model(z, t, r, cond))

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
    of MeanFlow with other defaults. Needs images and no teacher.
    """

    times: TimeDistribution = LogitNormal(-0.4, 1.0)
    share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    p: Annotated[float, Field(ge=0)] = 1.0
    c: Annotated[float, Field(gt=0)] = 1e-2

    @override
    def path(self, model: Denoiser, z: Tensor, t: Tensor, cond: Cond, sample: Pair) -> Pair:
        return tuple(model(z, t, t, cond))


def average_velocity(p: Prediction) -> Tensor:
    """Return the velocity eps - x0 (B, ...) of the straight line through a prediction's x0 and eps."""
    return p.eps - p.x0


def rate_of_line(schedule: Schedule, t: Tensor) -> Tensor:
    """Return dt / du (B,) at times t (B,), with u the straight line's time."""
    alpha, sigma = schedule.alpha_sigma(t)
    alpha_rate, sigma_rate = schedule.rates(t)
    return (alpha + sigma) ** 2 / (sigma_rate * alpha - sigma * alpha_rate)
