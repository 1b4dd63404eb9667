"""Running averages of weights."""

import torch
from torch import nn


def decay_at(decay: float, updates: int) -> float:
    """The decay after so many updates: ramped up so that an early average does not remember the initial weights."""
    return min(decay, (1 + updates) / (10 + updates))


@torch.no_grad()
def update(average: nn.Module, net: nn.Module, decay: float) -> None:
    """average <- decay average + (1 - decay) net; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - decay)
    for old, new in zip(average.buffers(), net.buffers(), strict=True):
        old.copy_(new)


@torch.no_grad()
def drift(average: nn.Module, net: nn.Module) -> torch.Tensor:
    """How far an average is behind its network: the size of the weights' differences over that of the weights."""
    apart = [(own - old).norm() for own, old in zip(net.parameters(), average.parameters(), strict=True)]
    return torch.stack(apart).norm() / torch.stack([own.norm() for own in net.parameters()]).norm()
