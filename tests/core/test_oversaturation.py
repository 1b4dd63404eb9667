"""The factor of rescaling, and dynamic thresholding."""

import torch

from fastdiff.core.oversaturation import rescaling, thresholded


def test_a_rescaled_sample_has_a_standard_deviation_between_two():
    torch.manual_seed(0)
    value, towards = 3 * torch.randn(4, 2, 8), torch.randn(4, 2, 8)
    for fraction in (0.0, 0.7, 1.0):
        factor = rescaling(value, towards, fraction)
        assert factor.shape == (4, 1, 1)
        wanted = fraction * towards.std((1, 2)) + (1 - fraction) * value.std((1, 2))
        torch.testing.assert_close((factor * value).std((1, 2)), wanted)
    assert rescaling(torch.ones(1, 5), torch.ones(1, 5), 1.0).item() == 1.0


def test_what_is_beyond_the_quantile_is_cut_and_the_quantile_becomes_one():
    x0 = torch.tensor([[0.5, -1.0, 4.0, -8.0], [0.1, 0.2, 0.3, 0.4]])
    found = thresholded(x0, 2 / 3)
    torch.testing.assert_close(found, torch.tensor([[0.125, -0.25, 1.0, -1.0], [0.1, 0.2, 0.3, 0.4]]))
