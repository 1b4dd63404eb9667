"""The order of examples: permutations of epochs that survive any cut, and each process's positions."""

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.data.order import order, permutation, rank_positions


def test_every_epoch_is_a_permutation_of_its_own():
    epochs = order(50, seed=3, start=0, count=150).view(3, 50)
    assert all(sorted(epoch.tolist()) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 3
    assert not torch.equal(order(50, 4, 0, 50), epochs[0])


@pytest.mark.parametrize("size", [1, 7, 50, 120])
def test_order_does_not_depend_on_how_it_is_cut(size):
    whole = order(50, seed=3, start=0, count=240)
    assert torch.equal(torch.cat([order(50, 3, i, min(size, 240 - i)) for i in range(0, 240, size)]), whole)
    assert torch.equal(order(50, 3, 49, 2), whole[49:51])


def test_a_permutation_is_a_function_of_its_whole_key():
    assert torch.equal(permutation(30, 1, "rows", 2), permutation(30, 1, "rows", 2))
    others = [
        permutation(30, *key) for key in ((1, "rows", 2), (1, "rows", 3), (1, "shards", 2), (12,), (1, 2))
    ]
    assert len({tuple(drawn.tolist()) for drawn in others}) == 5


def test_processes_deal_out_a_batch_without_gaps():
    ranks = [rank_positions(7, 12, rank, 3) for rank in range(3)]
    assert ranks[1].tolist() == [8, 11, 14, 17]
    assert torch.stack(ranks, 1).flatten().tolist() == list(range(7, 19))
    with pytest.raises(FastdiffError, match="batch = 12: expected a multiple of 5, the number of processes"):
        rank_positions(7, 12, 0, 5)
