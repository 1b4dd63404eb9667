"""The interface of a method, and the pieces that several methods share.

A method is a dataclass: its fields are its settings in a recipe, its hooks say which networks there are and
whose turn it is to learn, and its `loss` is that of one turn. It knows no optimizer, process or file.

Conditions, `batch.cond`, are None or a dict with one row per example. The keys, see also core.denoiser.Cond:
    label: classes (B,), int64.
    text, pooled, mask: an embedded prompt (B, L, D), (B, D) and (B, L).
    image: an image that x is conditioned on (B, C, h, w).
    time_ids: sizes and crops (B, 6) of SDXL.
    guidance: the guidance weight (B,), drawn from the student's range if it takes one as an input.

Logs, the second result of `loss`, are scalars by name. The loop averages them over processes and over the
parts of a batch, and adds loss and grad, the norm of the gradient. A name with the suffixes _low, _mid and
_high is also given for each third of the times; see `diagnostics.by_level`. Names with one meaning:
    self_error: root mean square of the difference between the student and its target.
    error: error of the method's own, which its class describes.
    gap: mean distance of the two times that are compared, as a fraction of t_max.
    boundary: error where the answer is known: near the data, at r = t, at t' of TCM.
    tangent: norm of the derivative that the target is made with.
    dsm, flow: loss, or error, of the denoising examples of a method that also makes jumps.
    unweighted, vlb: denoising's loss without importance weights, and its term of the variance.
    mmd, weighting: IMM's discrepancy, and the mean w of sCM's learned weighting.
    agreement, gan, and each with the suffix _share: terms of a loss, and their shares of the gradient.
    discriminator, discriminator_real, discriminator_fake, r1: a discriminator's loss, its accuracies and its
        penalty.
    coverage, spread: how far generated samples cover the data, and their root mean square about their mean.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.broadcast import like
from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError
from ..core.former_names import renamed_hooks
from ..core.prediction import Prediction
from ..core.sampling import Sampling
from ..core.schedule import Schedule
from ..core.validation import check_bounds
from ..data.batch import Batch
from .diagnostics import by_level
from .distances import L1, LPIPS, Distance, Huber, PseudoHuber, SquaredL2, per_sample, pseudo_huber
from .time_sampling import Importance, LogitNormal, LogNormal, TimeDistribution, Uniform

__all__ = [
    "L1",
    "LPIPS",
    "Decay",
    "Distance",
    "Fraction",
    "Huber",
    "Importance",
    "LogNormal",
    "LogitNormal",
    "Logs",
    "Loss",
    "Method",
    "Nets",
    "Progress",
    "PseudoHuber",
    "SquaredL2",
    "TimeDistribution",
    "Turn",
    "Uniform",
    "alternating_turns",
    "by_level",
    "guided",
    "heun",
    "numbers_of_steps",
    "per_sample",
    "pseudo_huber",
    "repeat_cond",
    "trainable_copy",
    "unwrap",
]

Nets = dict[str, nn.Module]  # networks by role
Turn = tuple[str, ...]  # roles that learn from one loss
Logs = dict[str, Tensor]  # scalars by name, see above
Loss = tuple[Tensor, Logs]

Decay = Annotated[float, Field(ge=0, lt=1)]  # of a running average, 0 for the network itself
Fraction = Annotated[float, Field(ge=0, le=1)]


class Progress(NamedTuple):
    """The place of a training: steps done, steps in all, images seen."""

    step: int
    steps: int
    images: int

    @property
    def fraction(self) -> float:
        """Steps done as a fraction of all steps."""
        return self.step / self.steps


@dataclass
class Method:
    """Base class of methods: fields are hyperparameters, the recipe's schema and its defaults.

    Args of a subclass are its settings. Class variables, where a subclass differs:
        training: the method's own defaults of the training settings.
        needs_teacher: whether a teacher is needed, which is then nets["teacher"].
        needs_pairs: whether stored pairs of noise and sample are needed, batch.eps.
        needs_images: False if only the shape of batch.x0 and the conditions are used; may be a property.
        cycle: number of steps after which the turns repeat; may be a property.
    """

    training: ClassVar[dict[str, Any]] = {}
    needs_teacher: ClassVar[bool] = False
    needs_pairs: ClassVar[bool] = False
    needs_images: ClassVar[bool] = True
    cycle: ClassVar[int] = 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        renamed_hooks(cls)

    def __post_init__(self) -> None:
        """Check each number against the bounds of its annotation."""
        check_bounds(self)

    def validate(self, shape: tuple[int, ...], device: torch.device) -> None:
        """Check before a training that every distance suits the data, and fetch the weights it needs.

        Args:
            shape: of one example.
            device: on which the distance is going to be evaluated.

        Raises:
            FastdiffError: for data that a distance is not made for, or weights that cannot be fetched.
        """
        for setting in fields(self):
            distance = getattr(self, setting.name)
            if isinstance(distance, Distance):
                distance.validate(shape, device)

    def student(self, model: Denoiser) -> Denoiser:
        """Return the model to train: the one that the training starts from, or one made of it."""
        return model

    def trainable_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        """Return networks that are kept and saved besides the student, by role.

        Those whose role appears in a turn are trained. A `core.statistics.RunningStatistics` among them is
        merged by the loop after each update. Called once, before a training.

        Raises:
            FastdiffError: if the method cannot train this student with this teacher.
        """
        return {}

    def frozen_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        """Return networks that the loss evaluates and that are never trained or saved, by role."""
        return {}

    def target_emas(self) -> dict[str, Callable[[Progress], float]]:
        """Return the running averages of the student that serve as targets: role -> decay at a progress.

        They are not the average that is exported.
        """
        return {}

    def turns(self, progress: Progress) -> tuple[Turn, ...]:
        """Return the turns of this step in their order; each takes a new batch and updates its roles."""
        return (("student",),)

    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        """Return the loss of a turn on one process's part of a batch.

        Args:
            turn: the roles that learn.
            nets: all networks by role: student, teacher if there is one, extras, frozen and averages. Those
                of the turn may be inside a data-parallel wrapper, which `bare` removes; their gradients are
                taken of passes through the wrapper.
            batch: examples x0 (B, ...), their condition, and their streams of random numbers.
            progress: the place of the training.

        Returns:
            A scalar, and scalars to log, by the names that this module describes.
        """
        raise NotImplementedError

    def teacher_nfe(self) -> float:
        """Return the mean number of teacher evaluations that a training example costs."""
        return 0

    def sampling(self) -> Sampling:
        """Return how a student of this method is to be sampled; it is stored with the student."""
        raise NotImplementedError


def unwrap(net: nn.Module) -> Denoiser:
    """Return the network inside a data-parallel wrapper, or the network itself."""
    if isinstance(net, Denoiser):
        return net
    return getattr(net, "module", net)


def trainable_copy(model: Denoiser) -> Denoiser:
    """Return a copy whose weights are to be trained."""
    return deepcopy(model).train().requires_grad_(True)


def repeat_cond(cond: Cond) -> Cond:
    """Return the condition of a batch (2 B, ...) that is one of (B, ...) followed by itself."""
    return cond and {name: torch.cat([value, value]) for name, value in cond.items()}


def numbers_of_steps(steps: tuple[int, ...]) -> None:
    """Raise FastdiffError unless these are step counts that one student can be trained for."""
    if not steps or min(steps) < 1:
        raise FastdiffError(f"steps = {list(steps)}: expected numbers of steps, each at least 1", key="steps")


def alternating_turns(judges: Turn, turns: int, progress: Progress) -> tuple[Turn, ...]:
    """Return the turns of a step: the judges' alone, and every `turns` steps the student's after theirs."""
    return (judges, ("student",)) if (progress.step + 1) % turns == 0 else (judges,)


def guided(
    model: Denoiser, x: Tensor, t: Tensor, s: Tensor, cond: Cond, weight: float | Tensor
) -> Prediction:
    """Return a model's (x0, eps) under classifier-free guidance: null + weight (cond - null) of each.

    Args:
        model: evaluated twice, or once if the weight is 1.
        x: noised samples (B, ...).
        t: their times (B,).
        s: times (B,) that the caller jumps to.
        cond: the condition, with a label or a text unless the weight is 1.
        weight: one number, or one for each sample that broadcasts against x.

    Raises:
        FastdiffError: if the condition has no label and no text.
    """
    conditional = model(x, t, s, cond)
    if not isinstance(weight, Tensor) and weight == 1:
        return conditional
    if not {"label", "text"} & set(cond or ()):
        raise FastdiffError(
            "guidance needs labels or captions of the data: choose a weight of 1, which is none"
        )
    null = model(x, t, s, model.null(cond))
    x0, eps = (b + weight * (a - b) for a, b in zip(conditional, null, strict=True))
    return Prediction(x, x0, eps)


def heun(teacher: Denoiser, schedule: Schedule, x: Tensor, t: Tensor, s: Tensor, cond: Cond) -> Tensor:
    """Return x_s of a step of Heun's method from x_t, exact where (x0, eps) is constant on the way.

    The step into s = 0, where eps may be 0 / 0, is Euler's.
    """
    p_t = teacher(x, t, s, cond)
    x_s = schedule.mix(*p_t, s)
    p_s = teacher(x_s, s, s, cond)
    alpha_t, sigma_t = schedule.alpha_sigma(t)
    alpha_s, sigma_s = schedule.alpha_sigma(s)
    turn = like(alpha_s - alpha_t, x) * (p_s.x0 - p_t.x0) + like(sigma_s - sigma_t, x) * (p_s.eps - p_t.eps)
    return torch.where(like(s > 0, x) > 0, x_s + turn / 2, x_s)
