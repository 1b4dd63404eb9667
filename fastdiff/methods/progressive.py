"""Progressive distillation (Salimans & Ho 2022): one student step matches two teacher DDIM steps; and with noise between.

With an adversary it is that of SDXL-Lightning (Lin et al. 2024).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..core.broadcast import like
from ..core.errors import FastdiffError
from ..core.sampling import Sampling
from ..core.schedule import Schedule
from .adversarial import Adversary, pulled
from .base import Method, bare, per_sample


@dataclass
class Progressive(Method):
    """One round (algorithm 2). steps: N of the student's grid t = i / N; the teacher walks it in 2 N.

    weight: of the squared error in x0, truncated SNR max(alpha^2 / sigma^2, 1) or SNR + 1, which is the error
    in v. A round starts with a fresh optimizer, ends at learning rate zero, and keeps no average of weights.
    gan: a critic on the teacher's features of where a jump ends, beside those of where it began.
    """

    steps: int = 8
    weight: Literal["truncated_snr", "snr_plus_1"] = "truncated_snr"
    gan: Adversary = Adversary()

    training: ClassVar[dict] = {"ema": 0.0, "decay": "linear"}
    teaches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise FastdiffError(f"steps = {self.steps}: expected at least 1", key="steps")

    def extras(self, student, teacher):
        return self.gan.extras(teacher, views=2)

    def turns(self, progress):
        return self.gan.turns

    def loss(self, turn, nets, batch, progress):
        model, teacher = bare(nets["student"]), nets["teacher"]
        schedule, i = model.schedule, batch.rng.integers(1, self.steps + 1).double()
        t, mid, s = (
            schedule.t_max * place / self.steps for place in self.walk(i)
        )  # t_max, of zero SNR, is included
        x = schedule.mix(batch.x0, batch.rng.normal(batch.x0.shape[1:]).to(batch.x0), t)
        with torch.no_grad():
            half = schedule.mix(*teacher(x, t, mid, batch.cond), mid)
            late = teacher(half, mid, s, batch.cond)
            target = torch.where(
                like(s > 0, x) > 0, implied(schedule, x, t, schedule.mix(*late, s), s), late.x0
            )
        if "critic" in turn:
            with torch.no_grad():
                made = nets["student"](x, t, s, batch.cond).x0
                real, made = self.seen(teacher, batch.cond, x, t, s, target, made)
            return self.gan.telling(nets["critic"], real, made)
        found = nets["student"](x, t, s, batch.cond).x0
        leaf = found.detach().requires_grad_() if self.gan.weight else found
        error = (snr_weight(self.weight, schedule, t) * per_sample((leaf - target).square())).mean()
        if not self.gan.weight:
            return error, {}
        (features,) = self.seen(teacher, batch.cond, x, t, s, leaf)
        return pulled(
            found, leaf, {"error": error, "gan": self.gan.weight * self.gan.fooling(nets["critic"](features))}
        )

    def seen(self, teacher, cond, x, t, s, *parts):
        """What the critic sees of jumps from (x, t) to s by the clean data that they are led by."""
        ends = [led(teacher.schedule, x, t, x0, s) for x0 in parts]
        told = s.clamp(
            min=teacher.schedule.t_max / teacher.schedule.timesteps
        )  # at 0 a teacher was never trained
        *there, here = self.gan.seen(teacher, [*ends, x], [told] * len(ends) + [t], cond)
        return [[torch.cat(pair, -1) for pair in zip(features, here, strict=True)] for features in there]

    def walk(self, i):
        """Where the teacher's two steps from point i of the grid begin, meet and end."""
        return i, i - 0.5, i - 1

    def teacher_nfe(self):
        return 4.5 if self.gan.weight else 2  # two more here, three in the other turn

    def sampling(self):
        return Sampling("ddim", "uniform", (self.steps,), only=True)


@dataclass
class Stochastic(Progressive):
    """A round for the sampler overshoot (Meng et al. 2023, section 3.3): a jump of 2 / N, then noise back up by 1 / N.

    steps: N, the student's evaluations. A teacher of 2 N such steps jumps by 1 / N, and two of its jumps are
    the student's; from the last point, 1 / N, there is room for one.
    """

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise FastdiffError(
                f"steps = {self.steps}: expected at least 2, as one step has no noise; choose progressive",
                key="steps",
            )

    def walk(self, i):
        return i, torch.where(i > 1, i - 1, i), (i - 2).clamp(min=0)  # from i = 1 the first step stays there

    def sampling(self):
        return Sampling("overshoot", "uniform", (self.steps,), only=True)


def snr_weight(name: str, schedule: Schedule, t: Tensor) -> Tensor:
    """The weight of a squared error in x0 at time t, by the signal-to-noise ratio (section 4)."""
    alpha, sigma = schedule.alpha_sigma(t)
    snr = (alpha / sigma).square()
    return snr.clamp(min=1) if name == "truncated_snr" else snr + 1


def implied(schedule, x, t, x_s, s):
    """The x0 for which one DDIM step from (x, t) lands on (x_s, s) (appendix G, equation 43)."""
    shrink, share = step(schedule, t, s)
    return (x_s - like(shrink, x) * x) / like(share, x)


def led(schedule, x, t, x0, s):
    """Where one DDIM step from (x, t) to s lands with this x0."""
    shrink, share = step(schedule, t, s)
    return like(shrink, x) * x + like(share, x) * x0


def step(schedule, t, s):
    """What a DDIM step from t to s makes of x, and of x0."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
    shrink = sigma_s / sigma_t
    return shrink, alpha_s - shrink * alpha_t
