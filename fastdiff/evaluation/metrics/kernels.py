"""Distances between two sets of vectors without a fitted Gaussian: by a kernel, with its error, and by projections."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ...core.errors import FastdiffError

ENTRIES = 2**22  # of a kernel's matrix held at a time
PRODUCTS = (
    2**38
)  # of numbers, pairs x dimensions, that are worth their time: 11,585 samples in 2048 dimensions
PROJECTIONS = 256


class Discrepancy(NamedTuple):
    """A squared maximum mean discrepancy, its standard error, and the part of each sample in it.

    To first order it is a constant + mean(x_terms) + mean(y_terms): what a bootstrap of differences needs.
    """

    value: float
    error: float
    x_terms: Tensor
    y_terms: Tensor


def polynomial(x: Tensor, y: Tensor) -> Tensor:
    """(x . y / d + 1)^3, the kernel of KID (Binkowski et al. 2018)."""
    return (x @ y.T).div_(x.shape[1]).add_(1).pow_(3)


def distance(x: Tensor, y: Tensor) -> Tensor:
    """-|x - y|: its discrepancy is the energy distance; subtracts before it squares, so that |x - x| is 0."""
    return -torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def discrepancy(x: Tensor, y: Tensor, kernel: Callable[[Tensor, Tensor], Tensor]) -> Discrepancy:
    """E k(x, x') + E k(y, y') - 2 E k(x, y) over all pairs (n, d) and (m, d); unbiased, so it may fall below 0.

    The standard error is that of the U-statistic's first-order terms, over both sets (Gretton et al. 2012,
    sec. 6). Of sets too large for that (PRODUCTS) the first samples alone are compared.
    """
    most = int((PRODUCTS / max(1, x.shape[1])) ** 0.5)
    x, y = (z if len(z) <= most else z[:most] for z in (x, y))
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise FastdiffError(f"n = {n} and {m}: a kernel distance needs at least 2 samples of each")
    within_x, within_y = _within.__wrapped__(x, kernel), _within(y, kernel)
    x_to_y, y_to_x = _row_sums(x.double(), y.double(), kernel)
    value = within_x.sum() / (n * (n - 1)) + within_y.sum() / (m * (m - 1)) - 2 * x_to_y.sum() / (n * m)
    x_terms = 2 * (within_x / (n - 1) - x_to_y / m)
    y_terms = 2 * (within_y / (m - 1) - y_to_x / n)
    error = (x_terms.var() / n + y_terms.var() / m).sqrt()
    return Discrepancy(float(value), float(error), x_terms.float().cpu(), y_terms.float().cpu())


@lru_cache(maxsize=2)  # the real samples are the same in every cell of a benchmark
def _within(x: Tensor, kernel: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Sums over the others of a set, for each of its samples."""
    x = x.double()
    own = torch.cat([kernel(part, part).diagonal() for part in x.split(64)])
    return _row_sums(x, x, kernel)[0] - own


def _row_sums(x: Tensor, y: Tensor, kernel: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Sums of the kernel's matrix over y and over x, never whole in memory."""
    rows, columns = [], torch.zeros(len(y), dtype=torch.float64, device=y.device)
    for part in x.split(max(1, ENTRIES // len(y))):
        entries = kernel(part, y)
        rows.append(entries.sum(1))
        columns += entries.sum(0)
    return torch.cat(rows), columns


def sliced_wasserstein(x: Tensor, y: Tensor, projections: int = PROJECTIONS) -> float:
    """Root mean square over random directions of the 2-Wasserstein distance of the projections (Bonneel et al. 2015).

    x (n, d) and y (m, d) are drawn to the same directions in every call. Of unequal counts the quantile
    functions are compared at max(n, m) points. Biased upward by few samples, like every distance that is not
    below 0.
    """
    draw = torch.randn(
        projections, x.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    directions = (draw / draw.norm(dim=1, keepdim=True)).T.to(x.device)
    ranks = (torch.arange(max(len(x), len(y)), dtype=torch.float64, device=x.device) + 0.5) / max(
        len(x), len(y)
    )
    total = 0.0
    for part in directions.split(32, dim=1):
        quantiles = [(z.double() @ part).sort(0).values[(ranks * len(z)).long()] for z in (x, y)]
        total += (quantiles[0] - quantiles[1]).square().mean(0).sum().item()
    return (total / projections) ** 0.5
