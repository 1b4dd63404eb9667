"""Guided distillation (Meng et al. 2023), stage one: one evaluation for the two of classifier-free guidance."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from ..core.broadcast import like
from ..core.errors import FastdiffError
from ..core.extra_inputs import with_guidance
from ..core.sampling import Sampling
from .base import Method, Uniform, bare, per_sample
from .diagnostics import by_level
from .progressive import snr_weight


@dataclass
class GuidedDistillation(Method):
    """The student is told the weight w and makes x0 = null + w (cond - null) of a teacher with labels, whatever w.

    weights: the range that w is drawn from; 1 is no guidance, so that this w is 1 + the paper's, whose range is 0 to 4.
    weight: of the squared error in x0, as in progressive, which is stage two: its student is then told w too.
    """

    weights: tuple[float, float] = (1.0, 5.0)
    weight: Literal["truncated_snr", "snr_plus_1"] = "truncated_snr"

    teaches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        low, high = self.weights
        if not 0 <= low <= high < math.inf:
            raise FastdiffError(
                f"weights = {low:g}, {high:g}: expected a range of guidance, of which 1 is none",
                key="weights",
            )

    def student(self, model):
        return with_guidance(model, self.weights)

    def extras(self, student, teacher):
        if teacher.guidance or (teacher.net.null_label is None and not teacher.text):
            lack = "is told its guidance already" if teacher.guidance else "takes no labels"
            raise FastdiffError(
                f"guided: the teacher {lack}: choose one with labels, model.labels: true, or with prompts"
            )
        return {}

    def loss(self, turn, nets, batch, progress):
        schedule, teacher = bare(nets["student"]).schedule, nets["teacher"]
        t, _ = Uniform().draw(batch.rng, schedule)
        x = schedule.mix(batch.x0, batch.rng.normal(batch.x0.shape[1:]).to(batch.x0), t)
        with torch.no_grad():
            null, cond = teacher(x, t, t, teacher.null(batch.cond)).x0, teacher(x, t, t, batch.cond).x0
            target = null + like(batch.cond["guidance"], x) * (cond - null)
        error = per_sample((nets["student"](x, t, t, batch.cond).x0 - target).square())
        logs = by_level("error", error.detach().sqrt(), t / schedule.t_max)
        return (snr_weight(self.weight, schedule, t) * error).mean(), logs

    def teacher_nfe(self):
        return 2

    def sampling(self):
        return Sampling("ddim", "uniform", (50,))
