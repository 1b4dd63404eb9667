"""What a role learns with: its weights, their optimizer, and settings of its own."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..core.errors import FastdiffError
from ..core.validation import suggestion
from .config import OPTIMIZERS, TrainConfig
from .placement import laid, whole


class Role:
    """The weights that are trained of a network, and what updates them. config: the training's, with the role's own."""

    def __init__(self, weights: list[nn.Parameter], config: TrainConfig) -> None:
        self.weights, self.config = weights, config
        self.optimizer = OPTIMIZERS[config.optimizer](
            weights, config.lr, betas=config.betas, weight_decay=config.weight_decay
        )

    def clipped(self) -> Tensor:
        """The norm that its gradient had before it was clipped."""
        return whole(nn.utils.clip_grad_norm_(self.weights, self.config.clip or math.inf))

    def update(self, step: int, scaler: torch.amp.GradScaler | None, wanted: bool) -> None:
        """Take a step with the gradient at hand, if wanted, and let go of it."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate(step)
        if scaler:  # it looks for itself, and counts on being asked
            scaler.step(self.optimizer)
        elif wanted:
            self.optimizer.step()
        self.optimizer.zero_grad()

    def tensors(self) -> dict[str, Tensor]:
        """The optimizer's state."""
        state = self.optimizer.state_dict()["state"]
        return {f"{index}.{name}": value for index, own in state.items() for name, value in own.items()}

    def resume(self, tensors: dict[str, Tensor]) -> None:
        """Go on from such a state, whole."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = laid(value, self.weights[int(index)])
        self.optimizer.load_state_dict(
            {"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]}
        )


def roles_of(nets: dict[str, nn.Module], config: TrainConfig) -> dict[str, Role]:
    """Every network that has weights to be trained, as a role; what the settings say of others is refused."""
    weights = {name: [p for p in net.parameters() if p.requires_grad] for name, net in nets.items()}
    known = [name for name, own in weights.items() if own]
    if strange := [name for name in config.roles or () if name not in known]:
        raise FastdiffError(
            f"train.roles.{strange[0]}: the method trains no such role{suggestion(strange[0], known)}"
        )
    return {name: Role(weights[name], config.of(name)) for name in known}


@contextmanager
def only(roles: Mapping[str, Role], turn: tuple[str, ...]) -> Iterator[None]:
    """Gradients pass through the other roles but do not reach their weights."""
    for name, role in roles.items():
        for p in role.weights:
            p.requires_grad_(name in turn)
    yield
    for role in roles.values():
        for p in role.weights:
            p.requires_grad_(True)
