"""The interface of a method, and functions that several methods share.

A method is a dataclass: its fields are its settings in a recipe, its hooks define the networks and which of
them learn in a turn, and `loss` is the loss of one turn. It has no optimizer, process or file.

Conditions, `batch.cond`, are None or a dict with one row per example; see also core.denoiser.Cond. The keys:
    label: classes (B,), int64.
    text, pooled, mask: an embedded prompt (B, L, D), (B, D) and (B, L).
    image: an image that x is conditioned on (B, C, h, w).
    time_ids: sizes and crops (B, 6) of SDXL.
    guidance: guidance weights (B,), drawn from the student's range if it takes one as an input.

The figures that losses log are described in `diagnostics`.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError
from ..core.former_names import renamed_hooks
from ..core.sampling import Sampling
from ..core.validation import check_bounds
from ..data.batch import Batch
from .diagnostics import by_level
from .distances import L1, LPIPS, Distance, Huber, PseudoHuber, SquaredL2, per_sample, pseudo_huber
from .teacher_steps import guided, heun
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
Logs = dict[str, Tensor]  # scalars by name, see diagnostics
Loss = tuple[Tensor, Logs]

Decay = Annotated[float, Field(ge=0, lt=1)]  # decay of a running average, 0 for the network itself
Fraction = Annotated[float, Field(ge=0, le=1)]


class Progress(NamedTuple):
    """The place of a training.

    Args:
        step: number of steps that are done, 0 in the first step.
        steps: number of steps of the whole training.
        images: number of images seen, over all processes and turns.
    """

    step: int
    steps: int
    images: int

    @property
    def fraction(self) -> float:
        """Steps done as a fraction of all steps, in [0, 1)."""
        return self.step / self.steps


@dataclass
class Method:
    """A distillation or training method: its settings, its networks and its loss.

    Subclasses are dataclasses with settings as fields (their types are the schema of a recipe) and define
    `loss` and `sampling`; the other hooks have defaults. Register one as METHODS["name"] = Class.

    Attributes:
        training: defaults of TrainConfig for this method; a recipe overrides them. May be a property.
        first_defaults: for each setting whose default has changed since its first version, the first default;
            for a setting that changes the training and was added later, the value without it. Records of
            finished stages leave out settings with these values, see `runs.origin`.
        needs_teacher: whether the method needs a teacher, which `loss` finds as nets["teacher"]. May be a
            property.
        needs_pairs: whether the data must be stored pairs of noise and sample, with the noise in batch.eps.
        needs_images: whether the values of batch.x0 are used; if False, only their shape and the conditions
            are, and a training needs no data set. May be a property.
        depends_on_length: whether the loss at a step depends on the number of all steps, so that a finished
            training cannot become longer. May be a property.
        cycle: number of steps per turn of the student, at least 1; a training must have at least as many
            steps. May be a property.

    Example:
        @dataclass
        class Flow(Method):
            def loss(self, turn, nets, batch, progress):
                student = unwrap(nets["student"])
                t = student.schedule.t_max * batch.rng.uniform()
                x_t, eps = batch.noised(student.schedule, t)
                p = nets["student"](x_t, t, t, batch.cond)
                return (p.x0 - batch.x0 - p.eps + eps).square().mean(), {}

            def sampling(self):
                return Sampling("ddim", "uniform", (8,))
    """

    training: ClassVar[dict[str, Any]] = {}
    first_defaults: ClassVar[dict[str, Any]] = {}
    needs_teacher: ClassVar[bool] = False
    needs_pairs: ClassVar[bool] = False
    needs_images: ClassVar[bool] = True
    depends_on_length: ClassVar[bool] = False
    cycle: ClassVar[int] = 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        renamed_hooks(cls)

    def __post_init__(self) -> None:
        """Check each number against the bounds of its annotation."""
        check_bounds(self)

    def validate(self, shape: tuple[int, ...], device: torch.device) -> None:
        """Check the settings against the data before a training, and fetch the weights of distances.

        Args:
            shape: shape of one example, (C, H, W) or (D,).
            device: device on which the distances will be evaluated.

        Raises:
            FastdiffError: for data that a distance does not support, or weights that cannot be fetched.
        """
        for setting in fields(self):
            distance = getattr(self, setting.name)
            if isinstance(distance, Distance):
                distance.validate(shape, device)

    def student(self, model: Denoiser) -> Denoiser:
        """Return the model to train, built from the initial model.

        Args:
            model: initial model, such as a copy of the teacher.

        Returns:
            The model itself, or one with further inputs (a second time, a guidance weight).

        Raises:
            FastdiffError: if the method cannot train this model.
        """
        return model

    def trainable_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        """Create the networks that are saved in addition to the student, once before a training.

        Args:
            student: the student, in training mode.
            teacher: the teacher; None without one.

        Returns:
            New networks by role, such as "discriminator" or "fake". Those whose role appears in a turn are
            trained. The loop merges a core.statistics.RunningStatistics over processes after each update.

        Raises:
            FastdiffError: if the method cannot train this student with this teacher.
        """
        return {}

    def frozen_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        """Create the networks that are evaluated and never trained or saved, once before a training.

        Args:
            student: the student.
            teacher: the teacher, which is frozen without being returned here; None without one.

        Returns:
            Networks by role.
        """
        return {}

    def target_emas(self) -> dict[str, Callable[[Progress], float]]:
        """Return the running averages (EMA) of the student that are targets; the exported one is another.

        Returns:
            For each role, such as "target", a function from the progress to the decay in [0, 1).
        """
        return {}

    def turns(self, progress: Progress) -> tuple[Turn, ...]:
        """Return the turns of one step in their order; each takes a new batch and updates its roles.

        Args:
            progress: the place of the training.

        Returns:
            Turns, each a tuple of roles, such as (("discriminator",), ("student",)). The student's turn must
            come once in `cycle` steps.
        """
        return (("student",),)

    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Progress) -> Loss:
        """Return the loss of a turn on one process's part of a batch.

        Args:
            turn: the roles that learn.
            nets: all networks by role: student, teacher, trainable, frozen and target networks. Those of the
                turn may be in a data-parallel wrapper: call it for passes with gradients, and use `unwrap`
                for attributes and other passes.
            batch: examples x0 (B, ...), their condition `cond`, their random streams `rng`, and for stored
                pairs their noise eps (B, ...).
            progress: the place of the training.

        Returns:
            The loss, a scalar, whose gradient updates the roles of the turn only; and figures to log, scalars
            by the names that `diagnostics` describes.

        Raises:
            FastdiffError: for a batch that the method cannot use, such as one without the noise of pairs.
        """
        raise NotImplementedError

    def teacher_nfe(self) -> float:
        """Return the mean number of teacher evaluations (NFE) per training example."""
        return 0

    def sampling(self) -> Sampling:
        """Return the default sampler, spacing and step counts of a student, which are stored with it."""
        raise NotImplementedError


renamed_hooks(Method)


def unwrap(net: nn.Module) -> Denoiser:
    """Return the network in a data-parallel wrapper, or the network itself if it is not wrapped."""
    if isinstance(net, Denoiser):
        return net
    return getattr(net, "module", net)


def trainable_copy(model: Denoiser) -> Denoiser:
    """Return a copy in training mode whose weights are all trainable."""
    return deepcopy(model).train().requires_grad_(True)


def repeat_cond(cond: Cond, count: int = 2) -> Cond:
    """Return the condition of B examples repeated, for a batch of count * B examples."""
    return cond and {name: torch.cat([value] * count) for name, value in cond.items()}


def numbers_of_steps(steps: tuple[int, ...]) -> None:
    """Raise FastdiffError if the step counts of a student are empty or one is below 1."""
    if not steps or min(steps) < 1:
        raise FastdiffError(f"steps = {list(steps)}: expected numbers of steps, each at least 1", key="steps")


def alternating_turns(others: Turn, turns: int, progress: Progress) -> tuple[Turn, ...]:
    """Return the turns of a step: one of the other roles, and in every `turns`-th step the student's too.

    Args:
        others: roles that learn together in each step, such as ("fake", "discriminator").
        turns: number of their turns for each turn of the student.
        progress: the place of the training.
    """
    return (others, ("student",)) if (progress.step + 1) % turns == 0 else (others,)
