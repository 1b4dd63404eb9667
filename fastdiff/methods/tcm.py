"""Truncated consistency models (Lee et al. 2025): a second stage that learns high noise alone."""

from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..core.broadcast import like
from ..core.errors import FastdiffError
from ..core.sampling import Sampling
from .base import Law, bare
from .consistency import ECT
from .jvp import alike
from .time_sampling import StudentT


@dataclass
class TCM(ECT):
    """Consistency training above t', where sigma / alpha is `truncation`; the teacher is the consistency model of stage one.

    Below t' it stands for the student, frozen. A `boundary_share` of the batch lies on t' itself, to learn
    its answer there with `boundary_weight` times the weight of the others: without them a constant would do.
    The gap is the one that stage one ended with. Sampled above t' only.
    """

    times: Law = StudentT()
    start: float = 2**-9
    halvings: int = 0
    truncation: float = 1.0
    boundary_share: float = 0.25
    boundary_weight: float = 0.1

    teaches: ClassVar[bool] = True

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
                "expected a share above 0 and below 1, and a weight above 0",
                key="boundary_share",
            )

    def frozen(self, student, teacher):
        if teacher.sampling.sampler != "consistency":
            raise FastdiffError(
                "tcm is a second stage: its teacher is to be a consistency model, as of ect, not one "
                f"that {teacher.sampling.sampler} samples"
            )
        if teacher.guidance:
            raise FastdiffError(
                "tcm learns from the data, which know no guidance: its teacher must not be told any"
            )
        return {"stage_one": deepcopy(teacher).train(student.training)}  # not eval, to share the dropout mask

    def edge(self, schedule):
        """t'."""
        return schedule.time_of(torch.tensor(self.truncation, dtype=torch.float64))

    def pair(self, rng, schedule, progress):
        t, _ = self.times.draw(rng, schedule)
        t = torch.where(rng.uniform() < self.boundary_share, self.edge(schedule), t)
        return t, self.below(schedule, t, progress)

    def target(self, nets, x, s, cond):
        with alike(x):
            below = nets["stage_one"](x, s, torch.zeros_like(s), cond).x0
        inside = like(s >= self.edge(bare(nets["student"]).schedule), x) > 0
        return torch.where(inside, super().target(nets, x, s, cond), below)

    def width(self, schedule, t, s):
        share, weight = self.boundary_share, self.boundary_weight
        return super().width(schedule, t, s) * torch.where(t > self.edge(schedule), 1 - share, share / weight)

    def health(self, schedule, t, error):
        on = (t <= self.edge(schedule)).to(error)
        return super().health(schedule, t, error) | {"boundary": (on * error).sum() / on.sum().clamp(min=1)}

    def sampling(self):
        return Sampling("consistency", f"karras[ratio_min={self.truncation:g}]", (1, 2, 4, 8))
