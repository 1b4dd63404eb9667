"""The update of the roles in a turn, on one global batch."""

from contextlib import ExitStack

from accelerate import Accelerator
from torch import Tensor

from ..core.statistics import RunningStatistics
from ..data.loader import Loader
from .config import TrainConfig
from .health import Health
from .method import Clock, Figures, Teachable, Turn
from .networks import TrainingNetworks
from .placement import unsynced
from .roles import Role, freeze_others


class Learner:
    """The part of the loop that computes the loss of a turn and steps the optimizers of its roles.

    Args:
        method: the method that defines the losses.
        networks: all networks of the training.
        roles: the networks that are trained, with their optimizers, by role.
        health: the check that decides whether an update may be made.
        config: the settings of the training.
        accelerator: accelerator of this process.
    """

    def __init__(
        self,
        method: Teachable,
        networks: TrainingNetworks,
        roles: dict[str, Role],
        health: Health,
        config: TrainConfig,
        accelerator: Accelerator,
    ) -> None:
        self.method = method
        self.networks = networks
        self.roles = roles
        self.health = health
        self.config = config
        self.accelerator = accelerator

    def learn(self, turn: Turn, loader: Loader, progress: Clock) -> tuple[Figures, bool]:
        """Update the roles of a turn once.

        Args:
            turn: the roles that learn.
            loader: the source of the batches.
            progress: the place of the training.

        Returns:
            The figures to log, scalars by name: the loss, the method's own figures and the norms of the
            gradients; and whether the update was made.
        """
        accelerator = self.accelerator
        scaler = accelerator.scaler
        learning = {name: self.roles[name] for name in turn}
        with freeze_others(self.roles, turn):
            loss, figures = self.backward(turn, loader, progress)
            loss = accelerator.reduce(loss, "mean")
            if scaler:
                for role in learning.values():
                    scaler.unscale_(role.optimizer)
            norms = {
                f"{name}/grad" if len(turn) > 1 else "grad": role.clip_gradients()
                for name, role in learning.items()
            }
            updated = self.health.may_update({"loss": loss, **norms})
            for role in learning.values():
                role.update(progress.step, scaler, updated)
            updated = self.health.update_scaler(scaler) and updated
        self.absorb_statistics()
        return {"loss": loss, **figures, **norms}, updated

    def backward(self, turn: Turn, loader: Loader, progress: Clock) -> tuple[Tensor, Figures]:
        """Accumulate the gradients of one global batch; return the mean loss and figures of this process."""
        accelerator = self.accelerator
        count = self.config.gradient_accumulation
        nets = self.networks.of_turn(turn)
        mean = 0.0
        parts: list[Figures] = []
        for part in range(count):
            batch = loader.next()
            with ExitStack() as contexts:
                if part + 1 < count:
                    for role in turn:
                        contexts.enter_context(unsynced(nets[role], accelerator))
                with accelerator.autocast():
                    loss, figures = self.method.loss(turn, nets, batch, progress)
                accelerator.backward(loss / count)
            mean = mean + loss.detach() / count
            parts.append({name: value.detach() for name, value in figures.items()})
        return mean, {name: sum(part[name] for part in parts) / count for name in parts[0]}

    def absorb_statistics(self) -> None:
        """Merge the statistics that losses recorded in this update, over batch parts and processes."""
        for net in self.networks.trained.values():
            if isinstance(net, RunningStatistics):
                net.absorb(lambda tensor: self.accelerator.reduce(tensor, "sum"))
