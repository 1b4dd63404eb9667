"""Frechet distances: known answers, and biases taken away."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.evaluation.metrics import frechet
from fastdiff.evaluation.metrics.frechet import Statistics, at_infinity, frechet_distance
from fastdiff.evaluation.metrics.kernels import discrepancy, distance
from fastdiff.evaluation.metrics.neighbours import neighbourhood
from tests.helpers.evaluated import statistics
from tests.helpers.tensors import rng


def folds(features):
    return [statistics(features[i::4]) for i in range(4)]


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
