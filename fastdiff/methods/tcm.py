"""Truncated consistency models (Lee et al. 2025): a second stage that is trained on high noise only."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError
from ..core.rng import SampleRng
from ..core.sampling import Sampling
from ..core.schedule import Schedule
from .base import Logs, Nets, Progress, unwrap
from .ect import ECT
from .jvp import preserve_rng_state
from .time_sampling import StudentT, TimeDistribution


@dataclass
class TCM(ECT):
    """TCM (Lee et al. 2025): consistency training above a time t' only, after a first stage.

    The loss is that of ECT for t > t', plus boundary_weight times that at t = t'. Targets at s < t' come from
    the frozen model of stage one, which is the teacher; without the term at t' a constant would minimize the
    loss. The gap is the final gap of stage one. The student is sampled above t' only. Needs a teacher that is
    a consistency model, and images.

    Args:
        times: distribution of t, whose lower end must be at or above truncation.
        start: gap as a fraction of t, in (0, 1].
        halvings: number of times that the gap is halved during the training.
        truncation: sigma / alpha at t', above 0.
        boundary_share: fraction of the batch at t = t', in (0, 1).
        boundary_weight: weight of the loss at t', above 0, relative to 1 for other times. For other settings
            see ECT.
    """

    times: TimeDistribution = StudentT()
    start: Annotated[float, Field(gt=0, le=1)] = 2**-9
    halvings: int = 0
    truncation: float = 1.0
    boundary_share: float = 0.25
    boundary_weight: float = 0.1

    first_defaults: ClassVar[dict[str, Any]] = {"k": 0.0, "clock": "time"}
    needs_teacher: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.truncation <= getattr(self.times, "low", 0):
            raise FastdiffError(
                f"truncation = {self.truncation}: expected times above it, {{name: student_t, low: "
                f"{self.truncation}}}",
                key="truncation",
            )
        if not (0 < self.boundary_share < 1 and self.boundary_weight > 0):
            raise FastdiffError(
                f"boundary_share = {self.boundary_share}, boundary_weight = {self.boundary_weight}: "
                "expected a fraction above 0 and below 1, and a weight above 0",
                key="boundary_share",
            )

    @override
    def frozen_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        if teacher.sampling.sampler != "consistency":
            raise FastdiffError(
                "tcm is a second stage: expected a consistency model as teacher, such as one of ect, not a "
                f"model for the sampler {teacher.sampling.sampler}"
            )
        if teacher.guidance:
            raise FastdiffError(
                "tcm learns from data without guidance: expected a teacher that takes no guidance weight"
            )
        # In the student's mode, since both use the same dropout mask.
        return {"stage_one": deepcopy(teacher).train(student.training)}

    def edge(self, schedule: Schedule) -> Tensor:
        """Return the time t', 0-dim."""
        return schedule.time_of(torch.tensor(self.truncation, dtype=torch.float64))

    @override
    def pair(self, rng: SampleRng, schedule: Schedule, progress: Progress) -> tuple[Tensor, Tensor]:
        t, _ = self.times.draw(rng, schedule)
        t = torch.where(rng.uniform() < self.boundary_share, self.edge(schedule), t)
        return t, self.earlier_time(schedule, t, progress)

    @override
    def target(self, nets: Nets, x: Tensor, s: Tensor, cond: Cond) -> Tensor:
        with preserve_rng_state(x):
            below = nets["stage_one"](x, s, torch.zeros_like(s), cond).x0
        inside = like(s >= self.edge(unwrap(nets["student"]).schedule), x) > 0
        return torch.where(inside, super().target(nets, x, s, cond), below)

    @override
    def width(self, schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
        fraction = self.boundary_share
        factor = torch.where(t > self.edge(schedule), 1 - fraction, fraction / self.boundary_weight)
        return super().width(schedule, t, s) * factor

    @override
    def error_logs(self, schedule: Schedule, t: Tensor, error: Tensor) -> Logs:
        on = (t <= self.edge(schedule)).to(error)
        return super().error_logs(schedule, t, error) | {
            "boundary": (on * error).sum() / on.sum().clamp(min=1)
        }

    @override
    def sampling(self) -> Sampling:
        return Sampling("consistency", f"karras[ratio_min={self.truncation:g}]", (1, 2, 4, 8))
