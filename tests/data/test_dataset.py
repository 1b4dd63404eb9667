"""The order of examples survives any cut, and batches are functions of their positions."""

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.data.registry import Dataset, batch_at, open_dataset, order

pytestmark = pytest.mark.usefixtures("private_cache")


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


def test_two_processes_see_the_batch_of_one():
    data = open_dataset("digits")
    one, *two = (batch_at(data, 1790, 12, 5, True, rank=r, world=w) for r, w in ((0, 1), (0, 2), (1, 2)))
    noise, uniform, shared = one.rng.normal((1, 8, 8)), one.rng.uniform(), one.shared.normal((3,))
    for rank, part in enumerate(two):
        assert torch.equal(part.x0, one.x0[rank::2])
        assert torch.equal(part.cond["label"], one.cond["label"][rank::2])
        assert torch.equal(part.rng.normal((1, 8, 8)), noise[rank::2])
        assert torch.equal(part.rng.uniform(), uniform[rank::2])
        assert torch.equal(part.shared.normal((3,)), shared)
    assert shared.shape == (1, 3) and not torch.equal(shared, batch_at(data, 1802, 12, 5).shared.normal((3,)))
    with pytest.raises(FastdiffError, match="multiple of 5"):
        batch_at(data, 0, 12, 5, world=5)


def test_the_streams_of_a_batch_differ():
    data = open_dataset("toy")
    batch = batch_at(data, 40, 1, 0)
    assert batch.cond is None and not torch.equal(batch.rng.normal((4,)), batch.shared.normal((4,)))


def test_flip_mirrors_half_of_the_images_and_always_the_same():
    data = open_dataset("digits")
    plain, flipped, again = (batch_at(data, 0, 400, 0, flip).x0 for flip in (False, True, True))
    mirrored = (flipped == plain.flip(-1)).flatten(1).all(1)
    assert torch.equal(flipped, again) and 150 < mirrored.sum() < 250
    assert torch.equal(flipped[~mirrored], plain[~mirrored])
    points = open_dataset("toy")
    assert torch.equal(batch_at(points, 0, 9, 0, flip=True).x0, batch_at(points, 0, 9, 0).x0)


def test_fingerprint_follows_examples_labels_and_shape():
    examples = torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2)
    changed = examples.clone()
    changed[1, 2, 1, 1] += 1
    sets = [
        Dataset("a", examples),
        Dataset("a", changed),
        Dataset("a", examples.view(2, 1, 3, 4)),
        Dataset("a", examples, torch.tensor([0, 1]), 2),
        Dataset("a", examples, torch.tensor([1, 0]), 2),
    ]
    assert len({data.fingerprint for data in sets}) == 5
    assert (
        Dataset("b", examples.clone()).fingerprint == sets[0].fingerprint and len(sets[0].fingerprint) == 16
    )
