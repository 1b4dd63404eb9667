"""Running averages (EMA) of the student: the exported one, and those that a method uses as targets."""

from collections.abc import Collection

from torch import nn

from ..core import ema
from ..core.denoiser import Denoiser
from ..networks import lora
from .method import Clock, Figures, TargetDecays
from .placement import gather_shards
from .weights import Tensors, changing, load_changing, with_prefix, without_prefix


class Averages:
    """The exported average `ema` and the target averages of one student.

    Args:
        student: the network that is averaged; the averages begin as copies of it, and share the parameters
            that are not trained.
        decay: decay of the exported average in [0, 1), after its ramp; see core.ema.decay_at.
        targets: decays of the target averages, by role, as functions of the progress.
        untrained: names of the parameters that are not trained; the state does not include them.
    """

    def __init__(
        self, student: Denoiser, decay: float, targets: TargetDecays, untrained: Collection[str] = ()
    ) -> None:
        self.decay = decay
        self.decays = targets
        self.untrained = untrained
        self.ema = frozen_copy(student)
        self.targets = {role: frozen_copy(student) for role in targets}

    def nets(self) -> dict[str, nn.Module]:
        """Return all averages by role."""
        return {"ema": self.ema, **self.targets}

    def update(self, student: Denoiser, step: int, progress: Clock) -> None:
        """Move every average towards the student, after `step` updates of the student."""
        ema.update(self.ema, student, ema.decay_at(self.decay, step))
        for role, target in self.targets.items():
            ema.update(target, student, self.decays[role](progress))

    def drifts(self, student: Denoiser) -> Figures:
        """Return the distance of each target average from the student, relative to the norm of its weights.

        If the networks are in shards, every process must call this at the same time.
        """
        return {
            f"{role}/drift" if len(self.targets) > 1 else "drift": gather_shards(ema.drift(target, student))
            for role, target in self.targets.items()
        }

    def state_dict(self) -> Tensors:
        """Return the weights that change, named `role.parameter`; shards if the networks are in shards."""
        tensors: Tensors = {}
        for role, net in self.nets().items():
            tensors |= with_prefix(role, changing(net, self.untrained))
        return tensors

    def load_state_dict(self, tensors: Tensors) -> None:
        """Load the weights that `state_dict` returned, as whole tensors; other tensors are ignored."""
        for role, net in self.nets().items():
            load_changing(net, without_prefix(role, tensors), self.untrained)


def frozen_copy(student: Denoiser) -> Denoiser:
    """Return a copy in evaluation mode that shares the student's parameters that are not trained."""
    return lora.twin(student).eval().requires_grad_(False)
