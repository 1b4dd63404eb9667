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
    """Algorithm 1: u(z, r, t), the average velocity from t back to r, obeys u = v - (t - r) du/dt.

    z = (1 - t) x + t e is the straight line, and u is eps - x0 of the student's jump, on any schedule. Of a
    network whose time has fast waves (a clock of a thousand ticks) the exact derivative is noise: differences
    of 0.03 did better.

    Args:
        times: law of both times on the straight line, sorted.
        share: of examples with r = t, where u is the velocity itself.
        p: a squared error S, summed over dimensions, weighs 1 / (S + c)^p.
        c: see p.
        differences: stride on the line's clock of central differences in the place of the exact derivative; 0
            for the exact one.
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
        """Draw times t and r <= t, each (B,), of the schedule."""
        one, _ = self.times.draw(rng, LINE)
        other, _ = self.times.draw(rng, LINE)
        t = torch.maximum(one, other)
        r = torch.where(rng.uniform() < self.share, t, torch.minimum(one, other))
        return schedule.time_of_flow(t), schedule.time_of_flow(r)

    def path(self, model: Denoiser, z: Tensor, t: Tensor, cond: Cond, sample: Pair) -> Pair:
        """Return the (x0, eps) whose straight line the derivative follows: that of the sample itself."""
        return sample

    def derivative(self, model: Denoiser, path: Pair, t: Tensor, r: Tensor, cond: Cond) -> Tensor:
        """Return du/dt (B, ...) along the straight line of a pair (x0, eps), with r held."""
        schedule = model.schedule

        def u(z: Tensor, t: Tensor) -> Tensor:
            return average_velocity(model(z, t, r, cond))

        neighbours = self.neighbours(schedule, t, r) if self.differences else None
        return directional_derivative(u, schedule, path, t, rate_of_line(schedule, t), neighbours)

    def neighbours(self, schedule: Schedule, t: Tensor, r: Tensor) -> Neighbours:
        """Return the times that central differences are taken between, from r to t_max."""
        at = schedule.straight(t)
        top = schedule.straight(t.new_tensor(schedule.t_max))
        late = torch.minimum(at + self.differences, top)
        early = torch.maximum(at - self.differences, schedule.straight(r))  # no jump starts before its end
        stride = (late - early).clamp(min=1e-9)  # at the top r may be t: no rise
        return Neighbours(schedule.time_of_flow(early), schedule.time_of_flow(late), stride)

    @override
    def sampling(self) -> Sampling:
        return Sampling("ddim", "uniform", (1, 2, 4, 8))


@dataclass
class IMF(MeanFlow):
    """Improved MeanFlow (Geng et al. 2025, "Improved mean flows").

    The derivative follows the velocity u(z, t, t) that the student itself predicts, so that what is learned
    from, u + (t - r) sg(du/dt), depends on x and t alone.
    """

    times: TimeDistribution = LogitNormal(-0.4, 1.0)
    share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    p: Annotated[float, Field(ge=0)] = 1.0
    c: Annotated[float, Field(gt=0)] = 1e-2

    @override
    def path(self, model: Denoiser, z: Tensor, t: Tensor, cond: Cond, sample: Pair) -> Pair:
        return tuple(model(z, t, t, cond))


def average_velocity(p: Prediction) -> Tensor:
    """Return d z / d t (B, ...) of the straight line through a prediction's x0 and eps."""
    return p.eps - p.x0


def rate_of_line(schedule: Schedule, t: Tensor) -> Tensor:
    """Return dt / d(the straight line's time) at times t (B,)."""
    alpha, sigma = schedule.alpha_sigma(t)
    alpha_rate, sigma_rate = schedule.rates(t)
    return (alpha + sigma) ** 2 / (sigma_rate * alpha - sigma * alpha_rate)
