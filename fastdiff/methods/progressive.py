"""Progressive distillation (Salimans & Ho 2022): one student step matches two DDIM steps of the teacher.

With noise between the steps it is stochastic distillation (Meng et al. 2023), and with an adversarial term
that of SDXL-Lightning (Lin et al. 2024).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from ..core.broadcast import like
from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError
from ..core.sampling import Sampling
from ..core.schedule import Schedule
from ..data.batch import Batch
from .adversarial import Adversary, Features, surrogate_loss
from .base import Loss, Method, Nets, Progress, Turn, per_sample, unwrap
from .loss_weights import SNRWeight, snr_weight


@dataclass
class Progressive(Method):
    """One round of progressive distillation (Salimans & Ho 2022): a student step matches two of the teacher.

    The loss is weight(SNR) |x0(x_t, t) - target|^2 per number, where one DDIM step with the target x0 ends
    where two DDIM steps of the teacher do; plus gan.weight times the generator loss. A round starts with a
    new optimizer, ends at learning rate zero, and has no running average of the weights. Needs a teacher and
    images.

    Args:
        steps: number of sampling steps N of the student, at least 1, on the grid t = i / N; the teacher takes
            2 N.
        weight: weight of the squared error in x0: truncated_snr, max(alpha^2 / sigma^2, 1), or snr_plus_1,
            alpha^2 / sigma^2 + 1, which makes it the error in v.
        gan: settings of the adversarial term, see Adversary; its discriminator takes the teacher's features
            of the end of a jump, together with those of its start.
    """

    steps: Annotated[int, Field(ge=1)] = 8
    weight: SNRWeight = "truncated_snr"
    gan: Adversary = Adversary()

    training: ClassVar[dict] = {"ema": 0.0, "lr_schedule": "linear"}
    needs_teacher: ClassVar[bool] = True

    @override
    def trainable_networks(self, student: Denoiser, teacher: Denoiser) -> Nets:
        return self.gan.trainable_networks(teacher, views=2)

    @override
    def turns(self, progress: Progress) -> tuple[Turn, ...]:
        return self.gan.turns

    @override
    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        schedule = unwrap(nets["student"]).schedule
        teacher = nets["teacher"]
        cond = batch.cond
        # 1. Sample a point i of the student's grid: the student jumps from t to s, the teacher via t_mid.
        i = batch.rng.integers(1, self.steps + 1).double()
        points = self.teacher_points(i)
        #    The times include t_max, with zero SNR.
        t, t_mid, s = (schedule.t_max * point / self.steps for point in points)
        # 2. Noise the data to t.
        x_t, _ = batch.noised(schedule, t)
        # 3. Two DDIM steps of the teacher, and the x0 with which one step ends at the same point.
        with torch.no_grad():
            x_mid = schedule.mix(*teacher(x_t, t, t_mid, cond), t_mid)
            p_mid = teacher(x_mid, t_mid, s, cond)
            x_s = schedule.mix(*p_mid, s)
            target = torch.where(like(s > 0, x_t) > 0, implied_x0(schedule, x_t, t, x_s, s), p_mid.x0)
        # 4. The discriminator's turn: distinguish the teacher's jumps and the student's.
        if "discriminator" in turn:
            with torch.no_grad():
                student_x0 = nets["student"](x_t, t, s, cond).x0
                real, fake = self.extract_features(teacher, cond, x_t, t, s, target, student_x0)
            return self.gan.discriminator_loss(nets["discriminator"], real, fake)
        # 5. The student's turn: the weighted error in x0, and the adversarial term.
        x0 = nets["student"](x_t, t, s, cond).x0
        if not self.gan.weight:
            return self.weighted_error(schedule, t, x0, target), {}
        x0_detached = x0.detach().requires_grad_()
        error = self.weighted_error(schedule, t, x0_detached, target)
        (features,) = self.extract_features(teacher, cond, x_t, t, s, x0_detached)
        term = self.gan.weight * self.gan.generator_loss(nets["discriminator"](features))
        return surrogate_loss(x0, x0_detached, {"error": error, "gan": term})

    def weighted_error(self, schedule: Schedule, t: Tensor, x0: Tensor, target: Tensor) -> Tensor:
        """Return the weighted squared error of x0 (B, ...) at times t (B,), a scalar."""
        return (snr_weight(self.weight, schedule, t) * per_sample((x0 - target).square())).mean()

    def extract_features(
        self, teacher: Denoiser, cond: Cond, x: Tensor, t: Tensor, s: Tensor, *clean: Tensor
    ) -> list[Features]:
        """Return the discriminator's features of jumps from (x, t) to s.

        Args:
            teacher: network whose features are taken.
            cond: condition of x.
            x: noised samples (B, ...) at which the jumps start.
            t: times (B,) at which the jumps start.
            s: the times (B,) at which the jumps end.
            clean: predictions of x0 (B, ...), one for each jump.

        Returns:
            For each jump, the features of its end, concatenated with those of its start.
        """
        schedule = teacher.schedule
        ends = [ddim_step(schedule, x, t, x0, s) for x0 in clean]
        end_times = s.clamp(min=schedule.t_max / schedule.timesteps)  # the teacher was not trained at 0
        times = [end_times] * len(ends) + [t]
        *at_ends, at_start = self.gan.extract_features(teacher, [*ends, x], times, cond)
        return [
            [torch.cat(pair, -1) for pair in zip(features, at_start, strict=True)] for features in at_ends
        ]

    def teacher_points(self, i: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the points at which the teacher's two steps from point i (B,) start, meet and end."""
        return i, i - 0.5, i - 1

    @override
    def teacher_nfe(self) -> float:
        # With a discriminator: two further evaluations in the student's turn, three in the discriminator's.
        return 4.5 if self.gan.weight else 2

    @override
    def sampling(self) -> Sampling:
        return Sampling("ddim", "uniform", (self.steps,), only=True)


@dataclass
class Stochastic(Progressive):
    """One round of stochastic distillation (Meng et al. 2023, section 3.3), for the sampler overshoot.

    The sampler jumps by 2 / N and then adds noise for 1 / N. The loss is that of Progressive: a jump of the
    student equals two jumps by 1 / N of a teacher with 2 N steps, or one from the last point, t = 1 / N.
    Other settings and needs are those of Progressive.

    Args:
        steps: number of sampling steps N of the student, at least 2.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 2:
            raise FastdiffError(
                f"steps = {self.steps}: expected at least 2, as one step has no noise; choose progressive",
                key="steps",
            )

    @override
    def teacher_points(self, i: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        middle = torch.where(i > 1, i - 1, i)  # from i = 1 the first step has length 0
        return i, middle, (i - 2).clamp(min=0)

    @override
    def sampling(self) -> Sampling:
        return Sampling("overshoot", "uniform", (self.steps,), only=True)


def implied_x0(schedule: Schedule, x: Tensor, t: Tensor, x_s: Tensor, s: Tensor) -> Tensor:
    """Return the x0 for which one DDIM step from (x, t) ends at (x_s, s) (appendix G, equation 43).

    Args:
        schedule: schedule of the times.
        x: point (B, ...) at which the step starts.
        t: time of x, (B,) or 0-dim.
        x_s: point (B, ...) at which the step ends.
        s: time of x_s, (B,) or 0-dim.
    """
    of_x, of_x0 = ddim_coefficients(schedule, t, s)
    return (x_s - like(of_x, x) * x) / like(of_x0, x)


def ddim_step(schedule: Schedule, x: Tensor, t: Tensor, x0: Tensor, s: Tensor) -> Tensor:
    """Return the end (B, ...) of a DDIM step from (x, t) to s with the prediction x0 (B, ...)."""
    of_x, of_x0 = ddim_coefficients(schedule, t, s)
    return like(of_x, x) * x + like(of_x0, x) * x0


def ddim_coefficients(schedule: Schedule, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors of x and x0 in a DDIM step from t to s, each of the times' shape."""
    alpha_t, sigma_t = schedule.alpha_sigma(t)
    alpha_s, sigma_s = schedule.alpha_sigma(s)
    of_x = sigma_s / sigma_t
    return of_x, alpha_s - of_x * alpha_t
