"""Distances between sets of vectors: known answers, other implementations, and errors that cover."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch_fidelity.metric_kid import kernel_poly, mmd2
from torch_fidelity.metric_prc import prc_features_to_metric

from fastdiff.core.errors import FastdiffError
from fastdiff.evaluation.metrics import frechet, kernels, neighbours
from fastdiff.evaluation.metrics.frechet import Statistics, at_infinity, frechet_distance
from fastdiff.evaluation.metrics.kernels import discrepancy, distance, polynomial, sliced_wasserstein
from fastdiff.evaluation.metrics.neighbours import neighbourhood


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def statistics(features):
    out = Statistics(features.shape[1])
    out.add(features)
    return out


def folds(features):
    return [statistics(features[i::4]) for i in range(4)]


# ---- Frechet


@pytest.mark.parametrize("sizes", [[100], [1, 99], [37, 0, 50, 13], [1] * 100])
def test_streamed_statistics_equal_numpy_on_the_whole(sizes):
    features = torch.randn(100, 7, generator=rng()) * 3 + 50
    streamed, halves = Statistics(7), [Statistics(7), Statistics(7)]
    for i, batch in enumerate(features.split(sizes)):
        streamed.add(batch)
        halves[i % 2].add(batch)
    for s in (streamed, halves[0] + halves[1], Statistics.of(streamed.tensors())):
        assert s.n == 100
        np.testing.assert_allclose(s.mean.numpy(), features.double().numpy().mean(0), rtol=1e-12)
        np.testing.assert_allclose(s.cov.numpy(), np.cov(features.double().numpy(), rowvar=False), atol=1e-9)


def exact(mean, cov, n=1000):
    """Statistics with exactly this mean and covariance."""
    out, mean, cov = Statistics(len(mean)), torch.tensor(mean).double(), torch.tensor(cov).double()
    out.n, out.sum, out.outer = n, n * mean, (n - 1) * cov + n * torch.outer(mean, mean)
    return out


def test_frechet_distance_of_known_gaussians():
    # commuting covariances: |m1 - m2|^2 + sum (sqrt a - sqrt b)^2 over the common eigenvalues
    a, b = exact([1.0, 2.0], [[4.0, 0.0], [0.0, 9.0]]), exact([4.0, -2.0], [[1.0, 0.0], [0.0, 25.0]])
    assert frechet_distance(a, b) == pytest.approx(25 + 1 + 4, abs=1e-9)
    # 2 x 2, not commuting: tr sqrt M = sqrt(tr M + 2 sqrt det M)
    a, b = exact([0.0, 0.0], [[2.0, 1.0], [1.0, 2.0]]), exact([0.0, 1.0], [[3.0, 0.0], [0.0, 1.0]])
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + 4 - 2 * math.sqrt(8 + 2 * math.sqrt(9)), abs=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n", [20, 300])  # fewer samples than dimensions, and more
def test_frechet_distance_equals_the_square_root_of_the_product(n):
    x, y = (
        torch.randn(n, 40, generator=rng()),
        torch.randn(n, 40, generator=rng(1)) * torch.linspace(0.1, 3, 40) + 0.5,
    )
    a, b = statistics(x), statistics(y)
    product = scipy.linalg.sqrtm((a.cov @ b.cov).numpy()).real.trace()
    direct = (a.mean - b.mean).square().sum() + a.cov.trace() + b.cov.trace() - 2 * product
    assert frechet_distance(a, b) == pytest.approx(float(direct), rel=1e-5)


def test_a_root_multiplies_to_its_covariance():
    for n in (5, 500):
        cov = statistics(torch.randn(n, 12, generator=rng())).cov
        torch.testing.assert_close(frechet.root(cov) @ frechet.root(cov).T, cov, rtol=1e-9, atol=1e-9)


def test_extrapolation_takes_the_bias_of_few_samples_away():
    """One distribution against itself: the distance is all bias, and its limit is near 0."""
    reference = statistics(torch.randn(200_000, 16, generator=rng(99)))
    found = [folds(torch.randn(512, 16, generator=rng(seed))) for seed in range(12)]
    at_n = torch.tensor([frechet_distance(f[0] + f[1] + f[2] + f[3], reference) for f in found])
    limits = torch.tensor([at_infinity(f, reference) for f in found])
    assert at_n.mean() > 0.1
    assert limits.mean().abs() < 0.1 * at_n.mean()


def test_there_is_no_extrapolation_where_a_fold_has_too_few():
    x = torch.randn(64, 16, generator=rng())
    assert at_infinity(folds(x), statistics(x)) is None  # 16 a fold in 16 dimensions
    assert at_infinity(folds(torch.cat([x, x + 0.1])), statistics(x)) is not None


def test_too_few_samples_are_refused():
    with pytest.raises(FastdiffError, match="at least 2"):
        frechet_distance(statistics(torch.ones(1, 3)), statistics(torch.ones(5, 3)))
    with pytest.raises(FastdiffError, match="at least 2"):
        discrepancy(torch.ones(1, 3), torch.ones(5, 3), distance)
    with pytest.raises(FastdiffError, match="at least 6"):
        neighbourhood(torch.randn(5, 3), torch.randn(9, 3))


# ---- kernels


def test_energy_distance_by_hand():
    x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0]])
    # between: (1 + 5 + 1 + 3) / 4 = 2.5; within x: 2; within y: 4
    assert discrepancy(x, y, distance).value == pytest.approx(2 * 2.5 - 2 - 4)
    # two point masses at distance 5, with many copies of each
    far = discrepancy(torch.zeros(1500, 2), torch.tensor([[3.0, 4.0]]).expand(1100, 2), distance)
    assert far.value == pytest.approx(10) and far.error == pytest.approx(0)


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
    x, y = x.clone(), y.clone()  # what is known of y is remembered
    parts = discrepancy(x, y, distance), neighbourhood(x, y)
    assert parts[0].value == pytest.approx(whole[0].value, rel=1e-9)
    torch.testing.assert_close(parts[0].y_terms, whole[0].y_terms)
    assert parts[1] == pytest.approx(whole[1], rel=1e-5)


def test_sliced_wasserstein_of_gaussians():
    n, d, generator = 8_000, 4, rng()
    x, y = torch.randn(n, d, generator=generator), 2 * torch.randn(n, d, generator=generator)
    assert sliced_wasserstein(x, y) == pytest.approx(1, rel=0.03)  # |2 - 1| in every direction
    moved = x + torch.tensor([3.0, 0, 0, 0])
    assert sliced_wasserstein(x, moved) == pytest.approx(1.5, rel=0.1)  # 3 sqrt(E u^2), u^2 = 1/4
    assert sliced_wasserstein(x, x) == 0
    assert sliced_wasserstein(x, x[: n // 2]) < 0.05  # unequal counts


# ---- neighbours


def test_precision_and_recall_are_torch_fidelitys():
    x, y = torch.randn(200, 5, generator=rng()) * 0.7, torch.randn(150, 5, generator=rng(1))
    theirs = prc_features_to_metric(x, y, verbose=False)
    ours = neighbourhood(x, y)
    assert 0 < theirs["recall"] < theirs["precision"] < 1
    assert ours["precision"] == pytest.approx(theirs["precision"], rel=1e-4)
    assert ours["recall"] == pytest.approx(theirs["recall"], rel=1e-4)


def test_density_and_coverage_by_their_definition():
    x, y = torch.randn(60, 2, generator=rng()) * 0.8, torch.randn(50, 2, generator=rng(1))
    between, within = torch.cdist(y, x), torch.cdist(y, y)
    radius = within.sort(1).values[:, 5]
    ours = neighbourhood(x, y)
    assert ours["density"] == pytest.approx(
        ((between < radius[:, None]).sum(0).float() / 5).mean().item(), rel=1e-5
    )
    assert ours["coverage"] == pytest.approx((between.amin(1) < radius).float().mean().item(), rel=1e-5)


def test_what_fresh_copied_collapsed_and_spread_samples_look_like():
    y = torch.randn(400, 4, generator=rng())
    fresh, copied = neighbourhood(torch.randn(400, 4, generator=rng(1)), y), neighbourhood(y + 1e-3, y)
    assert fresh["nearest"] == pytest.approx(1, abs=0.15) and fresh["diversity"] == pytest.approx(1, abs=0.1)
    assert copied["nearest"] < 0.05
    collapsed = neighbourhood(0.01 * torch.randn(400, 4, generator=rng(2)), y)
    assert collapsed["diversity"] < 0.05 and collapsed["coverage"] < 0.2 and collapsed["precision"] > 0.9
    wide = neighbourhood(4 * torch.randn(400, 4, generator=rng(3)), y)
    assert wide["precision"] < 0.4 and wide["diversity"] > 3
