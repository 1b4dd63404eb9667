"""The interface of a method that the training loop uses, and the types that both share."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from ..core.denoiser import Denoiser
from ..data.batch import Batch

Nets = dict[str, nn.Module]  # networks by role
Turn = tuple[str, ...]  # roles that learn from one loss
Figures = dict[str, Tensor]  # scalars to log, by name


class Clock(Protocol):
    """The place of a training; see methods.base.Progress."""

    @property
    def step(self) -> int:
        """Number of steps that are done."""
        ...

    @property
    def steps(self) -> int:
        """Number of steps of the whole training."""
        ...

    @property
    def images(self) -> int:
        """Number of images seen, over all processes."""
        ...


MakeClock = Callable[[int, int, int], Clock]  # makes a clock from (step, steps, images)
TargetDecays = dict[str, Callable[[Clock], float]]  # decays of the target averages, by role


class Teachable(Protocol):
    """The hooks of a method that the loop calls; see methods.base.Method."""

    def trainable_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        """Return the networks that are saved in addition to the student, by role."""
        ...

    def frozen_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        """Return the networks that are evaluated and never trained, by role."""
        ...

    def target_emas(self) -> TargetDecays:
        """Return the decays of the running averages of the student that are targets, by role."""
        ...

    def turns(self, progress: Clock) -> tuple[Turn, ...]:
        """Return the turns of a step, in their order."""
        ...

    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Clock) -> tuple[Tensor, Figures]:
        """Return a scalar loss and figures to log, scalars by name."""
        ...
