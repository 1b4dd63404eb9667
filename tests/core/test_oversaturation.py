"""Rescaling towards another tensor's standard deviation, and dynamic thresholding."""

import torch

from fastdiff.core.oversaturation import rescaled, thresholded


def test_a_rescaled_sample_has_a_standard_deviation_between_two():
    torch.manual_seed(0)
    value, towards, origin = 3 * torch.randn(4, 2, 8), torch.randn(4, 2, 8), torch.randn(4, 2, 8)
    for start in (0.0, origin):
        for fraction in (0.0, 0.7, 1.0):
            found = rescaled(value, towards, fraction, start) - start
            own, aim = ((x - start).std((1, 2)) for x in (value, towards))
            torch.testing.assert_close(found.std((1, 2)), fraction * aim + (1 - fraction) * own)
    assert torch.equal(rescaled(torch.ones(1, 5), torch.ones(1, 5), 1.0), torch.ones(1, 5))


def test_what_is_beyond_the_quantile_is_cut_and_the_quantile_becomes_one():
    x0 = torch.tensor([[0.5, -1.0, 4.0, -8.0], [0.1, 0.2, 0.3, 0.4]])
    found = thresholded(x0, 2 / 3)
    torch.testing.assert_close(found, torch.tensor([[0.125, -0.25, 1.0, -1.0], [0.1, 0.2, 0.3, 0.4]]))
