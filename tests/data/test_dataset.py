"""Batches are functions of their positions, and a data set is known by its contents."""

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.data.registry import Dataset, batch_at, open_dataset

pytestmark = pytest.mark.usefixtures("private_cache")


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
