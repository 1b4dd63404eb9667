"""Exponential integrators: their integrals, weights and coefficients against numerical integration."""

import math

import pytest
import torch
from scipy.integrate import quad

from fastdiff.core.schedule import Cosine, Flow
from fastdiff.samplers.exponential import (
    eps_coefficients,
    lagrange_weights,
    moments,
    steps_of,
    x0_coefficients,
)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("h", [0.03, 0.7, 2.5])
def test_moments_are_the_integrals(h, sign):
    exact = [quad(lambda u, k=k: math.exp(-sign * (h - u)) * u**k, 0, h)[0] for k in range(4)]
    assert moments(h, 4, sign) == pytest.approx(exact, rel=1e-6)


def test_lagrange_weights_integrate_polynomials_of_their_order():
    nodes, h = [0.0, -0.4, -1.1], 0.7

    def cubic(u):
        return 2 - 3 * u + 0.5 * u**2

    weights = lagrange_weights(nodes, moments(h, 3))
    exact = quad(lambda u: math.exp(u - h) * cubic(u), 0, h)[0]
    assert sum(w * cubic(node) for w, node in zip(weights, nodes, strict=True)) == pytest.approx(exact)


@pytest.mark.parametrize("schedule", [Cosine(), Flow()], ids=["Cosine", "Flow"])
def test_one_node_is_ddim(schedule):
    times = torch.tensor([0.8, 0.5, 0.2], dtype=torch.float64)
    for step in steps_of(schedule, times, order=1):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = step.start, step.end
        ddim = pytest.approx((sigma_s / sigma_t, alpha_s - sigma_s / sigma_t * alpha_t), rel=1e-9)
        assert tuple(x0_coefficients(step, moments(step.h, 1)))[:2] == ddim
        assert tuple(eps_coefficients(step, []))[:2] == ddim


def test_a_step_has_as_many_nodes_as_there_are_predictions():
    steps = steps_of(Cosine(), torch.tensor([1.0, 0.8, 0.5, 0.2, 0.0], dtype=torch.float64), order=2)
    assert [len(step.nodes) for step in steps] == [1, 1, 2, 1]
