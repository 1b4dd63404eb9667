"""The order of examples, as a function of the number of images seen."""

import hashlib
from functools import lru_cache
from typing import Any

import torch
from torch import LongTensor

from ..core.errors import FastdiffError


def permutation(length: int, *key: Any) -> LongTensor:
    """Return a permutation of 0 ... length - 1 that depends only on the length and the key."""
    mixed = hashlib.sha256(" ".join(map(str, key)).encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(mixed[:8]))
    return torch.randperm(length, generator=generator)


epoch_order = lru_cache(maxsize=4)(permutation)


def order(length: int, seed: int, start: int, count: int) -> LongTensor:
    """Return the indices (count,) of the examples at positions start ... start + count - 1.

    The endless sequence of examples consists of epochs; epoch e is a permutation drawn from (seed, e).
    """
    stop = start + count
    spans = []
    for epoch in range(start // length, (stop - 1) // length + 1):
        first = max(0, start - epoch * length)
        last = stop - epoch * length
        spans.append(epoch_order(length, seed, epoch)[first:last])
    return torch.cat(spans)


def rank_positions(position: int, size: int, rank: int, world: int) -> LongTensor:
    """Return one rank's positions in a global batch: position + rank, position + rank + world, ...

    Raises:
        FastdiffError: if the batch does not divide by the number of processes.
    """
    if size % world:
        raise FastdiffError(
            f"batch = {size}: expected a multiple of {world}, the number of processes times micro-batches"
        )
    return torch.arange(position + rank, position + size, world)
