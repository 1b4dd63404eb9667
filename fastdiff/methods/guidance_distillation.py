"""Guidance distillation (Meng et al. 2023), stage one: classifier-free guidance in a single evaluation."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.extra_inputs import with_guidance
from ..core.sampling import Sampling
from ..data.batch import Batch
from .base import Loss, Method, Nets, Progress, Turn, Uniform, per_sample, unwrap
from .diagnostics import by_level
from .loss_weights import SNRWeight, snr_weight


@dataclass
class GuidedDistillation(Method):
    """Guidance distillation, stage one (Meng et al. 2023): a student takes the guidance weight w as input.

    The loss is weight(SNR) |x0(x_t, t, w) - target|^2 per number, with target = null + w (cond - null) from
    the teacher's predictions of x0. Stage two is progressive distillation of this student. Needs a teacher
    that takes labels or prompts, and images.

    Args:
        weights: range (low, high) of w, which is uniform in it. 1 is no guidance: w is 1 + the paper's, whose
            range is 0 to 4.
        weight: weight of the squared error in x0, truncated_snr or snr_plus_1; see Progressive.
    """

    weights: tuple[float, float] = (1.0, 5.0)
    weight: SNRWeight = "truncated_snr"

    needs_teacher: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.weights
        if not 0 <= low <= high < math.inf:
            raise FastdiffError(
                f"weights = {low:g}, {high:g}: expected a range of guidance weights, at least 0 (1 for no "
                "guidance)",
                key="weights",
            )

    @override
    def student(self, model: Denoiser) -> Denoiser:
        return with_guidance(model, self.weights)

    @override
    def trainable_networks(self, student: Denoiser, teacher: Denoiser) -> Nets:
        if teacher.guidance or (teacher.null_label is None and not teacher.text):
            lack = "takes a guidance weight already" if teacher.guidance else "takes no labels"
            raise FastdiffError(
                f"guided: the teacher {lack}: choose one with labels, model.labels: true, or with prompts"
            )
        return {}

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        schedule = unwrap(nets["student"]).schedule
        teacher = nets["teacher"]
        cond = batch.cond
        # 1. Noise the data to a uniform time t. The guidance weight w is in the batch's condition.
        t, _ = Uniform().draw(batch.rng, schedule)
        x_t, _ = batch.noised(schedule, t)
        # 2. The teacher's guided prediction.
        with torch.no_grad():
            null_x0 = teacher(x_t, t, t, teacher.null(cond)).x0
            cond_x0 = teacher(x_t, t, t, cond).x0
            target = null_x0 + like(cond["guidance"], x_t) * (cond_x0 - null_x0)
        # 3. The student's error in x0, weighted.
        error = per_sample((nets["student"](x_t, t, t, cond).x0 - target).square())
        logs = by_level("error", error.detach().sqrt(), t / schedule.t_max)
        return (snr_weight(self.weight, schedule, t) * error).mean(), logs

    @override
    def teacher_nfe(self) -> int:
        return 2

    @override
    def sampling(self) -> Sampling:
        return Sampling("ddim", "uniform", (50,))
