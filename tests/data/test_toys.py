"""Data sets made in memory: the digits and the toys are what they say."""

import pytest
import torch

from fastdiff.data.registry import open_dataset
from fastdiff.data.toys import mixture

pytestmark = pytest.mark.usefixtures("private_cache")


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    data = open_dataset("digits")
    assert (len(data), data.shape, data.classes, data.examples.dtype) == (1797, (1, 8, 8), 10, torch.uint8)
    x0, cond = data.get(torch.arange(len(data)))
    raw = torch.from_numpy(load_digits().images[:, None])
    assert x0.dtype == torch.float32 and x0.min() == -1 and x0.max() == 1
    assert (x0 - (raw / 16 * 2 - 1)).abs().max() <= 0.5 / 127.5 + 1e-6
    assert cond["label"].tolist() == load_digits().target.tolist()


@pytest.mark.parametrize("kind", ["mixture", "moons", "spiral", "checkerboard"])
def test_toys_are_deterministic_and_fill_the_square(kind):
    data, again, other = (open_dataset("toy", kind=kind, n=2000, seed=seed) for seed in (0, 0, 1))
    assert (
        data.shape == (2,)
        and data.examples.dtype == torch.float32
        and (data.labels, data.classes) == (None, 0)
    )
    assert torch.equal(data.examples, again.examples) and not torch.equal(data.examples, other.examples)
    assert 0.8 < data.examples.abs().max() < 1.2 and data.examples.abs().amax(0).min() > 0.5
    assert torch.equal(data.get(torch.tensor([3, 1]))[0], data.examples[[3, 1]])


def test_toy_mixture_has_the_stated_weights():
    means, stds, weights = mixture()
    points = open_dataset("toy", n=20_000).examples
    nearest = torch.cdist(points, means).argmin(1)
    assert torch.allclose(torch.bincount(nearest, minlength=8) / len(points), weights, atol=0.01)
    assert torch.allclose((points - means[nearest]).std(0), stds[:2], rtol=0.05)


def test_toy_checkerboard_leaves_half_the_squares_empty():
    column, row = ((open_dataset("toy", kind="checkerboard").examples + 1) * 2).floor().long().T
    assert torch.all((column + row) % 2 == 0) and len(set(zip(column.tolist(), row.tolist()))) == 8
