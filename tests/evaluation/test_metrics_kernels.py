"""Kernel distances: by hand, by other implementations, with errors that cover."""

import math

import pytest
import torch
from torch_fidelity.metric_kid import kernel_poly, mmd2

from fastdiff.evaluation.metrics import kernels, neighbours
from fastdiff.evaluation.metrics.kernels import discrepancy, distance, polynomial, sliced_wasserstein
from fastdiff.evaluation.metrics.neighbours import neighbourhood
from tests.helpers.tensors import rng


def test_energy_distance_by_hand():
    x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0]])
    # between: (1 + 5 + 1 + 3) / 4 = 2.5; within x: 2; within y: 4
    assert discrepancy(x, y, distance).value == pytest.approx(2 * 2.5 - 2 - 4)
    # two point masses at distance 5, with many copies of each
    far = discrepancy(torch.zeros(1500, 2), torch.tensor([[3.0, 4.0]]).expand(1100, 2), distance)
    assert far.value == pytest.approx(10) and far.error == pytest.approx(0)


def test_many_dimensions_are_compared_by_products_of_matrices():
    x, y = torch.rand(200, 300, generator=rng()), torch.rand(150, 300, generator=rng(1)) + 0.02
    y[0] = x[0]  # a copy
    gaps = [(a[:, None] - b).norm(dim=2).sum().item() for a, b in ((x, x), (y, y), (x, y))]
    expected = 2 * gaps[2] / (200 * 150) - gaps[0] / (200 * 199) - gaps[1] / (150 * 149)
    assert discrepancy(x, y, distance).value == pytest.approx(expected, rel=1e-4)


def test_the_polynomial_kernels_discrepancy_is_torch_fidelitys():
    x, y = torch.randn(80, 6, generator=rng()), torch.randn(80, 6, generator=rng(1)) + 0.3
    settings = {"kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1.0}
    gram = [
        kernel_poly(a.double().numpy(), b.double().numpy(), **settings) for a, b in ((x, x), (x, y), (y, y))
    ]
    assert discrepancy(x, y, polynomial).value == pytest.approx(mmd2(*gram), rel=1e-9)


@pytest.mark.parametrize("kernel", [distance, polynomial])
def test_a_discrepancy_is_unbiased_and_its_error_is_its_spread(kernel):
    def drawn(shift):
        return [
            discrepancy(
                *(torch.randn(60, 3, generator=rng(2 * seed + i)) + shift * i for i in (0, 1)), kernel
            )
            for seed in range(300)
        ]

    same, apart = drawn(0.0), drawn(1.0)
    values = torch.tensor([found.value for found in same])
    assert values.min() < 0 < values.max()
    assert values.mean().abs() < 4 * values.std() / math.sqrt(len(values))
    values, errors = (torch.tensor([found[i] for found in apart]) for i in (0, 1))
    assert errors.mean() == pytest.approx(values.std().item(), rel=0.2)


def test_terms_sum_to_the_value_and_belong_to_their_samples():
    x, y = torch.randn(70, 3, generator=rng()), torch.randn(90, 3, generator=rng(1)) + 1
    found = discrepancy(x, y, distance)
    assert (found.x_terms.mean() + found.y_terms.mean()).item() == pytest.approx(2 * found.value, rel=1e-5)
    without = discrepancy(
        torch.cat([x[:10], x[11:]]), y, distance
    )  # what leaving sample 10 out does, to first order
    change = -(found.x_terms[10] - found.x_terms.mean()).item() / len(x)
    assert without.value - found.value == pytest.approx(change, abs=0.1 * abs(change) + 2e-3)


def test_chunks_do_not_change_anything(monkeypatch):
    x, y = torch.randn(70, 3, generator=rng()), torch.randn(90, 3, generator=rng(1)) + 1
    whole = discrepancy(x, y, distance), neighbourhood(x, y)
    for module in (kernels, neighbours):
        monkeypatch.setattr(module, "ENTRIES", 500)
    parts = discrepancy(x, y, distance), neighbourhood(x, y)
    assert parts[0].value == pytest.approx(whole[0].value, rel=1e-9)
    torch.testing.assert_close(parts[0].y_terms, whole[0].y_terms)
    assert parts[1] == pytest.approx(whole[1], rel=1e-5)


def test_what_is_computed_before_of_one_set_gives_the_same(monkeypatch):
    x, y = torch.randn(70, 3, generator=rng()), torch.randn(90, 3, generator=rng(1)) + 1
    monkeypatch.setattr(kernels, "MAX_PRODUCTS", 3 * 50**2)  # the first 50 alone are compared
    for kernel in (distance, polynomial):
        plain, given = (
            discrepancy(x, y, kernel, within) for within in (None, kernels.sums_within(y, kernel))
        )
        assert len(plain.y_terms) == 50
        assert plain.value == given.value and torch.equal(plain.y_terms, given.y_terms)
    assert neighbourhood(x, y, neighbours.spread(y)) == neighbourhood(x, y)


def test_sliced_wasserstein_of_gaussians():
    n, d, generator = 8_000, 4, rng()
    x, y = torch.randn(n, d, generator=generator), 2 * torch.randn(n, d, generator=generator)
    assert sliced_wasserstein(x, y) == pytest.approx(1, rel=0.03)  # |2 - 1| in every direction
    moved = x + torch.tensor([3.0, 0, 0, 0])
    assert sliced_wasserstein(x, moved) == pytest.approx(1.5, rel=0.1)  # 3 sqrt(E u^2), u^2 = 1/4
    assert sliced_wasserstein(x, x) == 0
    assert sliced_wasserstein(x, x[: n // 2]) < 0.05  # unequal counts
