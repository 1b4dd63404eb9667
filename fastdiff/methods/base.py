"""What a method is: whose turn it is to learn, and the loss of that turn. Also what several methods share."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..core.broadcast import like
from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError
from ..core.prediction import Prediction
from ..core.sampling import Sampling
from ..core.schedule import Schedule
from ..data.registry import Batch
from .distances import L1, LPIPS, Distance, Huber, PseudoHuber, SquaredL2, per_sample, pseudo_huber  # noqa: F401
from .time_sampling import Importance, Law, LogitNormal, LogNormal, Uniform  # noqa: F401  laws of times are shared too

Nets = dict[str, nn.Module]


class Progress(NamedTuple):
    """Where a training is: steps done, steps in all, images seen."""

    step: int
    steps: int
    images: int

    @property
    def fraction(self) -> float:
        return self.step / self.steps


@dataclass
class Method:
    """Fields are hyperparameters: they are the recipe's schema and defaults."""

    training: ClassVar[dict[str, Any]] = {}  # the method's own defaults of the training settings
    teaches: ClassVar[bool] = False  # a teacher is needed
    paired: ClassVar[bool] = False  # stored pairs of noise and sample are needed: batch.eps
    needs_images: ClassVar[bool] = True  # or only the shape of batch.x0 and the labels; may be a property
    cycle: ClassVar[int] = 1  # steps after which the turns repeat; may be a property

    def ready(self, shape: tuple[int, ...], device: torch.device) -> None:
        """Refuse, before a training, data that are not for a distance, or one whose weights are not there."""
        for setting in fields(self):
            if isinstance(distance := getattr(self, setting.name), Distance):
                distance.ready(shape, device)

    def student(self, model: Denoiser) -> Denoiser:
        """What is trained, made of the model it starts from."""
        return model

    def extras(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        """Networks kept and saved besides the student, by role; those that appear in a turn are trained."""
        return {}

    def frozen(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        """Networks consulted and never trained."""
        return {}

    def averages(self) -> dict[str, Callable[[Progress], float]]:
        """Running averages of the student that serve as targets: role -> decay. (Not the exported EMA.)"""
        return {}

    def turns(self, progress: Progress) -> tuple[tuple[str, ...], ...]:
        """The roles that learn from one loss, turn after turn, at this step."""
        return (("student",),)

    def loss(
        self, turn: tuple[str, ...], nets: Nets, batch: Batch, progress: Progress
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar, and what to log."""
        raise NotImplementedError

    def teacher_nfe(self) -> int:
        """Teacher evaluations a training example costs."""
        return 0

    def sampling(self) -> Sampling:
        """How a student of this method is to be sampled; stored with it."""
        raise NotImplementedError


def bare(net: nn.Module) -> nn.Module:
    """The network inside a data-parallel wrapper."""
    return getattr(net, "module", net) if not isinstance(net, Denoiser) else net


def copied(model: Denoiser) -> Denoiser:
    """A copy that is to learn."""
    return deepcopy(model).train().requires_grad_(True)


def twice(cond: Cond) -> Cond:
    """A condition for two batches in a row."""
    return cond and {name: torch.cat([value, value]) for name, value in cond.items()}


def numbers_of_steps(steps: tuple[int, ...]) -> None:
    """Refuse what are no numbers of steps to train one student for."""
    if not steps or min(steps) < 1:
        raise FastdiffError(f"steps = {list(steps)}: expected numbers of steps, each at least 1", key="steps")


def after(telling: tuple[str, ...], turns: int, progress: Progress) -> tuple[tuple[str, ...], ...]:
    """The turns of a step where those who tell samples apart have so many for one of the student."""
    return (telling, ("student",)) if (progress.step + 1) % turns == 0 else (telling,)


def guided(
    model: Denoiser, x: Tensor, t: Tensor, s: Tensor, cond: Cond, weight: float | Tensor
) -> Prediction:
    """A model's (x0, eps) under classifier-free guidance: both are null + weight (cond - null); a weight of 1 is none."""
    own = model(x, t, s, cond)
    if not isinstance(weight, Tensor) and weight == 1:
        return own
    if not {"label", "text"} & set(cond or ()):
        raise FastdiffError(
            "guidance needs labels or captions of the data: choose a weight of 1, which is none"
        )
    null = model(x, t, s, model.null(cond))
    return Prediction(x, *(apart + weight * (mine - apart) for mine, apart in zip(own, null, strict=True)))


def heun(teacher: Denoiser, schedule: Schedule, x: Tensor, t: Tensor, s: Tensor, cond: Cond) -> Tensor:
    """A step of second order, exact where (x0, eps) is constant on the way; into s = 0, where eps may be 0 / 0, of first."""
    here = teacher(x, t, s, cond)
    near = schedule.mix(*here, s)
    there = teacher(near, s, s, cond)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
    turn = like(alpha_s - alpha_t, x) * (there.x0 - here.x0) + like(sigma_s - sigma_t, x) * (
        there.eps - here.eps
    )
    return torch.where(like(s > 0, x) > 0, near + turn / 2, near)
