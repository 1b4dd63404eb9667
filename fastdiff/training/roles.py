"""The roles of a training: networks that learn, each with its weights, optimizer and settings."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..core.errors import FastdiffError
from ..core.former_names import ROLES
from ..core.validation import suggestion
from .config import OPTIMIZERS, TrainConfig
from .method import Nets, Turn
from .placement import distribute, gather_shards
from .weights import Tensors


class Role:
    """The trained weights of one network and the optimizer that updates them.

    Args:
        weights: the parameters that are trained.
        config: the settings of the training, overridden by those of the role.
    """

    def __init__(self, weights: list[nn.Parameter], config: TrainConfig) -> None:
        self.weights = weights
        self.config = config
        self.optimizer = OPTIMIZERS[config.optimizer](
            weights, config.lr, betas=config.betas, weight_decay=config.weight_decay
        )

    def clip_gradients(self) -> Tensor:
        """Clip the gradients to the norm max_grad_norm; return their norm before clipping, a scalar."""
        return gather_shards(nn.utils.clip_grad_norm_(self.weights, self.config.max_grad_norm or math.inf))

    def update(self, step: int, scaler: torch.amp.GradScaler | None, apply: bool) -> None:
        """Step the optimizer if `apply`, then zero the gradients.

        Args:
            step: number of steps that are done, which determines the learning rate.
            scaler: scaler of fp16 gradients, if any; it decides by itself whether to step.
            apply: whether to step the optimizer.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate(step)
        if scaler:
            scaler.step(self.optimizer)
        elif apply:
            self.optimizer.step()
        self.optimizer.zero_grad()

    def state_dict(self) -> Tensors:
        """Return the optimizer's state, named `index.name`; shards if the weights are in shards."""
        state = self.optimizer.state_dict()["state"]
        return {f"{index}.{name}": value for index, own in state.items() for name, value in own.items()}

    def load_state_dict(self, tensors: Tensors) -> None:
        """Load a state that `state_dict` returned, as whole tensors."""
        state: dict[int, Tensors] = {}
        for key, value in tensors.items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = distribute(value, self.weights[int(index)])
        self.optimizer.load_state_dict(
            {"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]}
        )


def roles_of(nets: Nets, config: TrainConfig) -> dict[str, Role]:
    """Return a role for every network that has weights to be trained.

    Args:
        nets: networks by role.
        config: the settings of the training.

    Raises:
        FastdiffError: if the settings name a role that the method does not train.
    """
    weights = {name: [p for p in net.parameters() if p.requires_grad] for name, net in nets.items()}
    known = [name for name, own in weights.items() if own]
    names = {*known, *(ROLES.get(name, name) for name in known)}
    unknown = [name for name in config.roles or () if name not in names]
    if unknown:
        raise FastdiffError(
            f"train.roles.{unknown[0]}: the method trains no such role{suggestion(unknown[0], known)}"
        )
    return {name: Role(weights[name], config.of(name)) for name in known}


@contextmanager
def freeze_others(roles: Mapping[str, Role], turn: Turn) -> Iterator[None]:
    """Freeze the weights of the roles outside a turn within the context; gradients still pass through."""
    for name, role in roles.items():
        for p in role.weights:
            p.requires_grad_(name in turn)
    yield
    for role in roles.values():
        for p in role.weights:
            p.requires_grad_(True)
