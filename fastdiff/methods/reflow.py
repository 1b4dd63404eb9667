"""Reflow (Liu et al. 2022, "Flow straight and fast"): a flow trained on a teacher's pairs is straighter."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from typing_extensions import override

from ..core.errors import FastdiffError
from ..core.prediction import ratio_of
from ..core.rng import SampleRng
from ..core.sampling import Sampling
from ..core.schedule import Flow, Schedule
from ..core.validation import check_bounds
from ..data.batch import Batch
from .base import LPIPS, Distance, Loss, Method, Nets, Progress, SquaredL2, TimeDistribution, Turn, unwrap
from .diagnostics import by_level
from .kd import paired_noise
from .loss_memory import LossSecondMoments
from .meanflow import velocity_of
from .time_sampling import TIME_DISTRIBUTIONS, Draw

LINE = Flow()


@dataclass(frozen=True)
class UShaped(TimeDistribution):
    """The distribution of t with density cosh(a (t - 1/2)), highest at both ends (Lee et al. 2024, 4.1).

    Args:
        a: steepness of the density, above 0.
    """

    a: Annotated[float, Field(gt=0, lt=math.inf)] = 4.0

    def __post_init__(self) -> None:
        check_bounds(self)

    @override
    def draw(self, rng: SampleRng, schedule: Schedule, loss_moments: LossSecondMoments | None = None) -> Draw:
        # Invert the distribution function, which is 1/2 + sinh(a (t - 1/2)) / (2 sinh(a / 2)).
        side = (2 * rng.uniform() - 1) * math.sinh(self.a / 2)
        return schedule.t_max * (0.5 + side.asinh() / self.a).clamp(0, 1), None


TIME_DISTRIBUTIONS["u_shaped"] = UShaped


@dataclass
class Reflow(Method):
    """Reflow (Liu et al. 2022): flow matching on the straight line between a stored pair of noise and sample.

    The loss is distance(v(x_t, t), eps - x0) with x_t = (1 - t) x0 + t eps, on any schedule at the time of
    equal sigma / alpha. Needs stored pairs. Only the times are those of Lee et al. 2024; their loss,
    (1 - t) times a pseudo-Huber distance plus LPIPS / t, is not built.

    Args:
        times: distribution of t on the line, a key of TIME_DISTRIBUTIONS.
        distance: distance between velocities, a key of DISTANCES except lpips.
    """

    times: TimeDistribution = UShaped()
    distance: Distance = SquaredL2()

    needs_pairs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.distance, LPIPS):
            raise FastdiffError(
                "distance: lpips is for images, reflow compares velocities; choose squared_l2 or l1",
                key="distance",
            )

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        schedule = unwrap(nets["student"]).schedule
        # 1. Take a stored pair (eps, x0) of the teacher's solver.
        x0 = batch.x0
        eps = paired_noise(batch, "reflow")
        # 2. Sample a time on the line, and the schedule's time of the same sigma / alpha.
        t_line = self.times.draw(batch.rng, LINE)[0]
        t = schedule.time_of(ratio_of(LINE, t_line)).clamp(max=schedule.t_max)
        # 3. The distance between the velocities.
        x_t = schedule.mix(x0, eps, t)
        v = velocity_of(nets["student"](x_t, t, t, batch.cond))
        error = self.distance(v, eps - x0)
        return error.mean(), by_level("error", error.detach(), schedule.straight(t))

    @override
    def sampling(self) -> Sampling:
        return Sampling("ddim", "uniform", (1, 2, 4, 8))
