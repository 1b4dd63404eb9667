"""The Frechet distance between Gaussians fitted to features, and its extrapolation in n."""

import torch
from torch import Tensor

from ...core.errors import FastdiffError


class Statistics:
    """The count, sum and sum of outer products of features, in float64 on the CPU.

    Statistics of the parts of a set add up to those of the whole set, from which those of a part can be
    subtracted.

    Args:
        dims: dimension of a feature vector.
    """

    def __init__(self, dims: int) -> None:
        self.n = 0
        self.sum = torch.zeros(dims, dtype=torch.float64)
        self.outer = torch.zeros(dims, dims, dtype=torch.float64)

    def add(self, features: Tensor) -> None:
        """Add features (n, dims)."""
        features = features.cpu().double()
        self.n += len(features)
        self.sum += features.sum(0)
        self.outer += features.T @ features

    def __add__(self, other: "Statistics") -> "Statistics":
        others = other.tensors()
        return Statistics.of({name: tensor + others[name] for name, tensor in self.tensors().items()})

    def __sub__(self, part: "Statistics") -> "Statistics":
        parts = part.tensors()
        return Statistics.of({name: tensor - parts[name] for name, tensor in self.tensors().items()})

    @property
    def mean(self) -> Tensor:
        """The mean (dims,)."""
        return self.sum / self.n

    @property
    def cov(self) -> Tensor:
        """The unbiased covariance (dims, dims), divided by n - 1.

        Raises:
            FastdiffError: for fewer than two samples.
        """
        if self.n < 2:
            raise FastdiffError(
                f"n = {self.n}: expected at least 2 samples for a covariance, and far more for a meaningful "
                "value"
            )
        return (self.outer - self.n * torch.outer(self.mean, self.mean)) / (self.n - 1)

    def tensors(self) -> dict[str, Tensor]:
        """Return the statistics as tensors by name, for files and for reductions over processes."""
        return {"n": torch.tensor(self.n), "sum": self.sum, "outer": self.outer}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> "Statistics":
        """Create statistics from the tensors that `tensors` returns."""
        self = cls(0)
        self.n = int(tensors["n"])
        self.sum = tensors["sum"]
        self.outer = tensors["outer"]
        return self


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """Return |mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^1/2) (Heusel et al. 2017, eq. 6).

    With cov = L L^T, the trace of the root of the product is the sum of the singular values of L_a^T L_b,
    which is real and not negative in spite of rounding, and several times faster than eigenvalues of the
    product at 2048 dimensions.

    Args:
        a: statistics of one set of features.
        b: statistics of another set.

    Raises:
        FastdiffError: for fewer than two samples in a set.
    """
    cov_a = a.cov
    cov_b = b.cov
    cross = torch.linalg.svdvals(root(cov_a).T @ root(cov_b)).sum()
    return float((a.mean - b.mean).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross)


def root(cov: Tensor) -> Tensor:
    """Return a matrix L (d, rank) with L L^T = cov, by eigenvalues if the covariance is singular."""
    lower, failed = torch.linalg.cholesky_ex(cov)
    if not failed:
        return lower
    values, vectors = torch.linalg.eigh(cov)
    some = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    return vectors[:, some] * values[some].sqrt()


def at_infinity(folds: list[Statistics], reference: Statistics) -> float | None:
    """Extrapolate the Frechet distance to infinitely many samples (Chong & Forsyth 2020): linear in 1/n.

    The line is fitted to the mean over the folds, the mean over pairs of them, and so on up to the whole set.

    Args:
        folds: statistics of disjoint parts of the samples; their number is a power of two.
        reference: statistics of the data.

    Returns:
        The distance; None if a fold has no more samples than dimensions, since the distance is then not
        linear in 1/n.
    """
    if min(fold.n for fold in folds) <= len(reference.sum):
        return None
    inverse: list[float] = []
    values: list[float] = []
    while folds:
        inverse.append(len(folds) / sum(fold.n for fold in folds))
        values.append(sum(frechet_distance(fold, reference) for fold in folds) / len(folds))
        folds = [a + b for a, b in zip(folds[::2], folds[1::2], strict=True)] if len(folds) > 1 else []
    ones = torch.ones(len(inverse), dtype=torch.float64)
    line = torch.stack([ones, torch.tensor(inverse, dtype=torch.float64)], 1)
    return float(torch.linalg.lstsq(line, torch.tensor(values, dtype=torch.float64)[:, None]).solution[0])
