"""The common loss of consistency models (Song et al. 2023)."""

import torch
from torch import Tensor
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError
from ..core.rng import SampleRng
from ..core.sampling import Sampling
from ..core.schedule import Schedule
from ..data.batch import Batch
from .base import Logs, Loss, Method, Nets, Progress, Turn, unwrap
from .diagnostics import boundary, by_level
from .distances import Distance, per_sample
from .jvp import preserve_rng_state
from .time_sampling import TimeDistribution

FEW_STEPS = Sampling("consistency", "few_steps", (1, 2, 4, 8))


class Consistency(Method):
    """Base class of consistency models (Song et al. 2023): f(x_t, t) is trained to equal f(x_s, s), s < t.

    The loss is the mean of distance(f(x_t, t), f-(x_s, s)) / width, without gradients through f-. Subclasses
    have the fields `times` and `distance`, define the pairs of times, and may override x_s, the target and
    the width.
    """

    times: TimeDistribution
    distance: Distance

    @override
    def trainable_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        identity_at_data(student)
        return {}

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        schedule = unwrap(nets["student"]).schedule

        # 1. Sample times t and s < t, noise, and x_t.
        t, s = self.pair(batch.rng, schedule, progress)
        x_t, eps = batch.noised(schedule, t)

        # 2. f(x_t, t), with gradients. This pass comes first: older autocasts keep the weights that a pass
        #    without gradients has cast, and lose the gradients.
        with preserve_rng_state(x_t):  # the same dropout mask for both passes
            f = nets["student"](x_t, t, torch.zeros_like(t), batch.cond).x0

        # 3. The target f-(x_s, s), without; at s = 0, where a network may not be defined, x_s itself.
        with torch.no_grad():
            x_s = self.x_at_s(nets, batch, x_t, eps, t, s)
            target = torch.where(like(s > 0, x_s) > 0, self.target(nets, x_s, s, batch.cond), x_s)
            error = per_sample((f - target).square()).sqrt()

        # 4. The distance between the two, in units of the gap.
        loss = (self.distance(f, target) / self.width(schedule, t, s)).mean()
        return loss, {
            "gap": ((t - s) / schedule.t_max).mean(),
            **boundary(schedule, t, f, batch.x0),
            **self.error_logs(schedule, t, error),
        }

    def pair(self, rng: SampleRng, schedule: Schedule, progress: Progress) -> tuple[Tensor, Tensor]:
        """Draw times t and s < t, each (B,), for the examples' random streams."""
        raise NotImplementedError

    def x_at_s(self, nets: Nets, batch: Batch, x: Tensor, eps: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Return x_s (B, ...) for x = x_t and its noise eps; here of the same data and noise."""
        return unwrap(nets["student"]).schedule.mix(batch.x0, eps, s)

    def target(self, nets: Nets, x: Tensor, s: Tensor, cond: Cond) -> Tensor:
        """Return the clean data (B, ...) that the student or its running average predicts from x = x_s."""
        student = unwrap(nets["student"])
        net = nets["target"].train(student.training) if "target" in nets else student
        return net(x, s, torch.zeros_like(s), cond).x0

    def width(self, schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
        """Return the divisor (B,) of the distance."""
        return torch.ones_like(t)

    def error_logs(self, schedule: Schedule, t: Tensor, error: Tensor) -> Logs:
        """Return figures to log from the errors (B,), root mean squares of student minus target."""
        return by_level("self_error", error, t / schedule.t_max)

    @override
    def sampling(self) -> Sampling:
        return Sampling("consistency", "uniform", (1, 2, 4, 8))


def identity_at_data(student: Denoiser) -> None:
    """Raise FastdiffError for a student whose parameterization does not make f(x, 0) = x."""
    if student.predicts in ("x0", "eps"):
        raise FastdiffError(
            f"consistency needs f(x, 0) = x, which a model that predicts {student.predicts} does not "
            "have: choose v, velocity or edm"
        )
