"""Reflow (Liu et al. 2022, "Flow straight and fast"): a flow learned anew on the teacher's own pairs is straighter."""

import math
from dataclasses import dataclass
from typing import ClassVar

from ..core.errors import FastdiffError
from ..core.prediction import ratio_of
from ..core.sampling import Sampling
from ..core.schedule import Flow
from .base import LPIPS, Distance, Law, Method, SquaredL2, bare
from .diagnostics import by_level
from .kd import noise_of
from .meanflow import average_velocity
from .time_sampling import TIME_LAWS

LINE = Flow()


@dataclass(frozen=True)
class UShaped(Law):
    """Density cosh(a (t - 1/2)) on the line: most at both ends (Lee et al. 2024, section 4.1)."""

    a: float = 4.0

    def __post_init__(self) -> None:
        if not 0 < self.a < math.inf:
            raise FastdiffError(f"times: u_shaped needs a above 0, got {self.a}", key="times")

    def draw(self, rng, schedule, memory=None):
        side = (2 * rng.uniform() - 1) * math.sinh(self.a / 2)
        return schedule.t_max * (0.5 + side.asinh() / self.a).clamp(0, 1), None


TIME_LAWS["u_shaped"] = UShaped


@dataclass
class Reflow(Method):
    """The velocity eps - x0 of a pair, seen from the straight line between the two. times: law of t on that line."""

    times: Law = UShaped()
    distance: Distance = SquaredL2()

    paired: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.times.memory() is not None:
            raise FastdiffError(
                "times: importance is for denoising, choose u_shaped, uniform or logit_normal", key="times"
            )
        if isinstance(self.distance, LPIPS):
            raise FastdiffError(
                "distance: reflow's is one of velocities, lpips is for images; choose squared_l2 or l1",
                key="distance",
            )

    def loss(self, turn, nets, batch, progress):
        x0, eps, schedule = batch.x0, noise_of(batch, "reflow"), bare(nets["student"]).schedule
        t = schedule.time_of(ratio_of(LINE, self.times.draw(batch.rng, LINE)[0])).clamp(max=schedule.t_max)
        v = average_velocity(nets["student"](schedule.mix(x0, eps, t), t, t, batch.cond))
        error = self.distance(v, eps - x0)
        return error.mean(), by_level("error", error.detach(), schedule.straight(t))

    def sampling(self):
        return Sampling("ddim", "uniform", (1, 2, 4, 8))
