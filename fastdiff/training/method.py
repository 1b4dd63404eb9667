"""What the training loop needs of a method, and the types that they share."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from ..core.denoiser import Denoiser
from ..data.batch import Batch

Nets = dict[str, nn.Module]  # networks by role
Turn = tuple[str, ...]  # roles that learn from one loss
Figures = dict[str, Tensor]  # scalars to log, by name


class Clock(Protocol):
    """Where a training is; see methods.base.Progress."""

    @property
    def step(self) -> int:
        """Steps that are done."""
        ...

    @property
    def steps(self) -> int:
        """All steps of the training."""
        ...

    @property
    def images(self) -> int:
        """Images seen, over all processes."""
        ...


MakeClock = Callable[[int, int, int], Clock]  # of (step, steps, images)
TargetDecays = dict[str, Callable[[Clock], float]]  # decays of the averages that serve as targets, by role


class Teachable(Protocol):
    """The hooks of a method that the loop calls; see methods.base.Method."""

    def trainable_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        """Return networks that are kept and saved besides the student."""
        ...

    def frozen_networks(self, student: Denoiser, teacher: Denoiser | None) -> Nets:
        """Return networks that are evaluated and never trained."""
        ...

    def target_emas(self) -> TargetDecays:
        """Return the running averages of the student that serve as targets: role -> decay."""
        ...

    def turns(self, progress: Clock) -> tuple[Turn, ...]:
        """Return the turns of a step, in order."""
        ...

    def loss(self, turn: Turn, nets: Nets, batch: Batch, progress: Clock) -> tuple[Tensor, Figures]:
        """Return a scalar loss and figures to log."""
        ...
