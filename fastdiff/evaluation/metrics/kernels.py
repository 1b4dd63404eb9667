"""Distances between two sets of vectors without a fitted Gaussian: kernel and sliced Wasserstein."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ...core.errors import FastdiffError

Kernel = Callable[[Tensor, Tensor], Tensor]  # (n, d), (m, d) -> (n, m)

ENTRIES = 2**22  # most entries of a kernel's matrix in memory
MAX_PRODUCTS = 2**38  # most pairs x dimensions: 11,585 samples in 2048 dimensions
MAX_SUBTRACTED = 128  # most dimensions of vectors that are subtracted one by one
PROJECTIONS = 256  # random directions of the sliced Wasserstein distance


class Discrepancy(NamedTuple):
    """A squared maximum mean discrepancy, its standard error, and first-order terms of each sample.

    To first order the value is a constant + mean(x_terms) + mean(y_terms), as the bootstrap of differences
    needs it.

    Args:
        value: the discrepancy.
        error: standard error of the value.
        x_terms: terms (n,) of the generated samples.
        y_terms: terms (m,) of the examples of the data.
    """

    value: float
    error: float
    x_terms: Tensor
    y_terms: Tensor


def polynomial(x: Tensor, y: Tensor) -> Tensor:
    """Return (x . y / d + 1)^3, the kernel of KID (Binkowski et al. 2018)."""
    return (x @ y.T).div_(x.shape[1]).add_(1).pow_(3)


def distance(x: Tensor, y: Tensor) -> Tensor:
    """Return -|x - y|, the kernel of the energy distance.

    Vectors of up to MAX_SUBTRACTED dimensions are subtracted before they are squared, so that |x - x| is
    exactly 0; products of matrices are faster for more, and in double precision differ by 1e-8 |x| at most.
    """
    subtracted = x.shape[1] <= MAX_SUBTRACTED
    mode = "donot_use_mm_for_euclid_dist" if subtracted else "use_mm_for_euclid_dist"
    return -torch.cdist(x, y, compute_mode=mode)


def discrepancy(x: Tensor, y: Tensor, kernel: Kernel, within_y: Tensor | None = None) -> Discrepancy:
    """Return E k(x, x') + E k(y, y') - 2 E k(x, y) over all pairs; unbiased, so it may fall below 0.

    The standard error is that of the U-statistic's first-order terms, over both sets (Gretton et al. 2012,
    sec. 6). In sets that exceed MAX_PRODUCTS only the first samples are compared.

    Args:
        x: vectors (n, d).
        y: vectors (m, d).
        kernel: kernel such as `polynomial` or `distance`.
        within_y: `sums_within(y, kernel)`, if known.

    Raises:
        FastdiffError: for fewer than two vectors in a set.
    """
    x = compared(x)
    y = compared(y)
    n = len(x)
    m = len(y)
    if min(n, m) < 2:
        raise FastdiffError(f"n = {n} and {m}: expected at least 2 samples of each for a kernel distance")
    within_x = sums_within(x, kernel)
    if within_y is None:
        within_y = sums_within(y, kernel)
    x_to_y, y_to_x = _row_sums(x.double(), y.double(), kernel)
    value = within_x.sum() / (n * (n - 1)) + within_y.sum() / (m * (m - 1)) - 2 * x_to_y.sum() / (n * m)
    x_terms = 2 * (within_x / (n - 1) - x_to_y / m)
    y_terms = 2 * (within_y / (m - 1) - y_to_x / n)
    error = (x_terms.var() / n + y_terms.var() / m).sqrt()
    return Discrepancy(float(value), float(error), x_terms.float().cpu(), y_terms.float().cpu())


def compared(x: Tensor) -> Tensor:
    """Return the first vectors of (n, d), as many as MAX_PRODUCTS allows."""
    most = int((MAX_PRODUCTS / max(1, x.shape[1])) ** 0.5)
    return x if len(x) <= most else x[:most]


def sums_within(x: Tensor, kernel: Kernel) -> Tensor:
    """Return the sum (n,) of the kernel over all other vectors of the set, for each compared vector."""
    x = compared(x).double()
    own = torch.cat([kernel(part, part).diagonal() for part in x.split(64)])
    return _row_sums(x, x, kernel)[0] - own


def _row_sums(x: Tensor, y: Tensor, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """Return the sums of the kernel's matrix over y and over x, without the whole matrix in memory."""
    rows: list[Tensor] = []
    columns = torch.zeros(len(y), dtype=torch.float64, device=y.device)
    for part in x.split(max(1, ENTRIES // len(y))):
        entries = kernel(part, y)
        rows.append(entries.sum(1))
        columns += entries.sum(0)
    return torch.cat(rows), columns


def sliced_wasserstein(x: Tensor, y: Tensor, projections: int = PROJECTIONS) -> float:
    """Return the sliced 2-Wasserstein distance (Bonneel et al. 2015).

    This is the root mean square, over random directions, of the 2-Wasserstein distance of the projections;
    few samples bias it upward, like every distance that cannot be negative. For n != m the quantile functions
    are compared at max(n, m) points.

    Args:
        x: vectors (n, d).
        y: vectors (m, d).
        projections: number of random directions, which are the same in every call.
    """
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(projections, x.shape[1], generator=generator, dtype=torch.float64)
    directions = (draw / draw.norm(dim=1, keepdim=True)).T.to(x.device)
    points = max(len(x), len(y))
    ranks = (torch.arange(points, dtype=torch.float64, device=x.device) + 0.5) / points
    total = 0.0
    for part in directions.split(32, dim=1):
        x_quantiles, y_quantiles = (
            (z.double() @ part).sort(0).values[(ranks * len(z)).long()] for z in (x, y)
        )
        total += (x_quantiles - y_quantiles).square().mean(0).sum().item()
    return (total / projections) ** 0.5
