"""A batch is made from its rows: mirrored, drawn, and with streams of noise of its own."""

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Flow
from fastdiff.data.batch import Rows, as_floats
from fastdiff.data.registry import batch_at, open_dataset

pytestmark = pytest.mark.usefixtures("private_cache")


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


def rows(n=6, **fields):
    positions = torch.arange(40, 40 + n)
    return Rows("some", 40, positions, torch.arange(4.0 * n).view(n, 1, 2, 2), None, **fields)


def test_bytes_are_mapped_onto_their_ends_and_floats_are_left():
    assert as_floats(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([-1, -0.6, 1])
    floats = torch.tensor([3.0])
    assert as_floats(floats) is floats


def test_a_part_has_every_tensor_of_its_rows():
    labels, words = torch.arange(6), torch.randn(6, 3)
    part = rows(eps=torch.randn(6, 1, 2, 2), conditions={"text": words}).micro_batch(1, 3)
    assert part.positions.tolist() == [41, 44] and part.start == 40
    assert torch.equal(part.conditions["text"], words[1::3]) and part.eps.shape == (2, 1, 2, 2)
    assert part.condition(None).keys() == {"text"} and rows().condition(None) is None
    assert Rows("some", 0, labels, words, labels).micro_batch(0, 2).batch(0).cond["label"].tolist() == [
        0,
        2,
        4,
    ]


def test_latents_are_drawn_about_their_mean_with_their_spread():
    wide, plain = (rows(2000, spread=torch.full((2000, 1, 2, 2), s)).batch(3).x0 for s in (2.0, 0.0))
    noise = (wide - plain) / 2
    assert abs(float(noise.mean())) < 0.05 and float(noise.std()) == pytest.approx(1, abs=0.05)
    assert torch.equal(wide, rows(2000, spread=torch.full((2000, 1, 2, 2), 2.0)).batch(3).x0)


def test_a_noised_batch_lies_between_its_examples_and_its_noise():
    batch = rows().batch(0)
    x, eps = batch.noised(Flow(), torch.tensor([0.0, 0.25, 0.5, 0.5, 0.75, 1.0]))
    torch.testing.assert_close(x[1], 0.75 * batch.x0[1] + 0.25 * eps[1])
    assert torch.equal(x[0], batch.x0[0]) and torch.equal(x[5], eps[5])
    assert not torch.equal(batch.noise(), eps)


def test_a_weight_of_guidance_needs_a_condition():
    with pytest.raises(FastdiffError, match="the data some have no labels or captions"):
        rows().batch(0, guidance=(1.0, 4.0))
    weights = (
        rows(500, conditions={"text": torch.zeros(500, 1)}).batch(0, guidance=(1.0, 4.0)).cond["guidance"]
    )
    assert 1 <= weights.min() < 1.1 and 3.9 < weights.max() < 4
