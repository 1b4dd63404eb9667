"""Exponential moving averages of weights."""

import torch
from torch import nn


def decay_at(decay: float, updates: int) -> float:
    """Return the decay after a number of updates: it grows, so that initial weights soon lose influence."""
    return min(decay, (1 + updates) / (10 + updates))


@torch.no_grad()
def update(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Update an average in place to decay average + (1 - decay) net; buffers are copied."""
    olds, news = unshared_weights(average, net)
    torch._foreach_lerp_(olds, news, 1 - decay)
    for old, new in zip(average.buffers(), net.buffers(), strict=True):
        old.copy_(new)


@torch.no_grad()
def drift(average: nn.Module, net: nn.Module) -> torch.Tensor:
    """Return |average - net| / |net|, the relative distance of an average from its network's weights."""
    olds, news = unshared_weights(average, net)
    gaps = [(own - old).norm() for old, own in zip(olds, news)]
    return torch.stack(gaps).norm() / torch.stack([own.norm() for own in news]).norm()


def unshared_weights(average: nn.Module, net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the weights of an average and of its network, without the parameters that both share."""
    pairs = [
        (old, own) for old, own in zip(average.parameters(), net.parameters(), strict=True) if old is not own
    ]
    return [old for old, _ in pairs], [own for _, own in pairs]
