"""Weights by noise level: of squared distances, and of those of first degree."""

import pytest
import torch

from fastdiff.core.schedule import Cosine, Flow
from fastdiff.methods.loss_weights import snr_weight
from tests.helpers.oracles import named

T = torch.tensor([0.05, 0.5, 0.9, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("schedule", [Cosine(), Flow()], **named)
def test_the_weights_of_squared_errors(schedule):
    alpha, sigma = schedule.alpha_sigma(T)
    snr = alpha**2 / sigma**2
    torch.testing.assert_close(snr_weight("truncated_snr", schedule, T), torch.maximum(snr, snr * 0 + 1))
    torch.testing.assert_close(snr_weight("snr_plus_1", schedule, T), snr + 1)
    assert torch.equal(snr_weight("none", schedule, T), torch.ones(4).double())


@pytest.mark.parametrize("name", ["none", "truncated_snr", "snr_plus_1"])
def test_a_distance_of_first_degree_has_the_root(name):
    squared = snr_weight(name, Cosine(), T)
    torch.testing.assert_close(snr_weight(name, Cosine(), T, degree=1).square(), squared)
    assert (squared >= 1).all() and squared[-1] == 1
