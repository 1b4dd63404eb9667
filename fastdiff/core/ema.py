"""Running averages of weights."""

import torch
from torch import nn


def decay_at(decay: float, updates: int) -> float:
    """The decay after so many updates: ramped up so that an early average does not remember the initial weights."""
    return min(decay, (1 + updates) / (10 + updates))


@torch.no_grad()
def update(average: nn.Module, net: nn.Module, decay: float) -> None:
    """average <- decay average + (1 - decay) net; buffers are copied."""
    olds, news = apart(average, net)
    torch._foreach_lerp_(olds, news, 1 - decay)
    for old, new in zip(average.buffers(), net.buffers(), strict=True):
        old.copy_(new)


@torch.no_grad()
def drift(average: nn.Module, net: nn.Module) -> torch.Tensor:
    """How far an average is behind its network: the size of the weights' differences over that of the weights."""
    olds, news = apart(average, net)
    gaps = [(own - old).norm() for old, own in zip(olds, news)]
    return torch.stack(gaps).norm() / torch.stack([own.norm() for own in news]).norm()


def apart(average: nn.Module, net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The weights of an average and its network, without those that they have in common."""
    pairs = [
        (old, own) for old, own in zip(average.parameters(), net.parameters(), strict=True) if old is not own
    ]
    return [old for old, _ in pairs], [own for _, own in pairs]
