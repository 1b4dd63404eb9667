"""Coefficients against samples: their axes, their dtype, and blends of two tensors."""

import torch

from fastdiff.core.broadcast import blend, like
from tests.helpers.tensors import f64, rng


def test_like_follows_the_sample():
    x = torch.zeros(3, 2, 5)
    assert like(torch.arange(3.0), x).shape == (3, 1, 1) and like(torch.ones(3, 2), x).shape == (3, 2, 1)
    assert like(torch.ones(3, dtype=torch.float64), x).dtype == torch.float32
    scalar = f64(2.0)
    assert like(scalar, x) is scalar and (scalar * x).dtype == torch.float32


def test_a_blend_of_numbers_is_that_of_as_many_equal_coefficients():
    x, y = torch.randn(2, 3, 3, generator=rng(), dtype=torch.float64)
    kept = x.clone()
    single = torch.stack([2 * x[i] - 0.5 * y[i] for i in range(3)])
    torch.testing.assert_close(blend(2.0, x, -0.5, y), single, rtol=0, atol=1e-15)
    assert torch.equal(x, kept)
    a, b = f64([2.0, 3.0, 0.0]), f64([-0.5, 0.0, 1.0])
    rows = torch.stack([2 * x[0] - 0.5 * y[0], 3 * x[1], y[2]])
    torch.testing.assert_close(blend(a, x, b, y), rows, rtol=0, atol=1e-15)
