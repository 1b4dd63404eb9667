"""Exponential moving averages of weights."""

import torch
from torch import nn


def decay_at(decay: float, updates: int) -> float:
    """Return the decay after some updates, ramped up so that the initial weights are soon forgotten."""
    return min(decay, (1 + updates) / (10 + updates))


@torch.no_grad()
def update(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Set average to decay average + (1 - decay) net, in place; buffers are copied."""
    olds, news = apart(average, net)
    torch._foreach_lerp_(olds, news, 1 - decay)
    for old, new in zip(average.buffers(), net.buffers(), strict=True):
        old.copy_(new)


@torch.no_grad()
def drift(average: nn.Module, net: nn.Module) -> torch.Tensor:
    """Return the norm of the differences of an average and its network over that of the weights."""
    olds, news = apart(average, net)
    gaps = [(own - old).norm() for old, own in zip(olds, news)]
    return torch.stack(gaps).norm() / torch.stack([own.norm() for own in news]).norm()


def apart(average: nn.Module, net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the weights of an average and of its network, without those that both share."""
    pairs = [
        (old, own) for old, own in zip(average.parameters(), net.parameters(), strict=True) if old is not own
    ]
    return [old for old, _ in pairs], [own for _, own in pairs]
