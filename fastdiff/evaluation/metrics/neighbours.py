"""Metrics of nearest neighbours: fidelity of samples, coverage of the data, copies, diversity."""

from typing import NamedTuple

import torch
from torch import Tensor

from ...core.errors import FastdiffError

PRECISION_NEIGHBOURS = 3  # neighbours of improved precision and recall, as in the paper
DENSITY_NEIGHBOURS = 5  # neighbours of density and coverage
ENTRIES = 2**22  # distances held at a time


class Spread(NamedTuple):
    """The distances within a set of vectors.

    radii: (n, DENSE + 1), of each vector to itself and its nearest others. mean: the mean distance of two.
    """

    radii: Tensor
    mean: float


def neighbourhood(x: Tensor, y: Tensor, y_spread: Spread | None = None) -> dict[str, float | None]:
    """Return metrics of nearest neighbours, all from one pass over the distances between two sets.

    precision: the share of x inside the balls around y that reach to the third neighbour; recall: the share
    of y inside those around x (Kynkaanniemi et al. 2019). density: the mean number of balls of y to the fifth
    neighbour around an x, divided by five; coverage: the share of these balls that hold an x (Naeem et al.
    2020). nearest: the median distance of an x to its nearest y, divided by that of a y to its nearest other
    y: well below 1 means copies. diversity: the mean distance between two x, divided by that of two y. The
    last two are None if the data hold little but duplicates.

    Args:
        x: generated vectors (n, d).
        y: real vectors (m, d).
        y_spread: `spread(y)`, if it was computed before.

    Raises:
        FastdiffError: for too few vectors in a set.
    """
    if min(len(x), len(y)) <= DENSITY_NEIGHBOURS:
        raise FastdiffError(
            f"n = {len(x)} and {len(y)}: neighbours need at least {DENSITY_NEIGHBOURS + 1} samples of each"
        )
    x_radii, x_mean = spread(x)
    y_radii, y_mean = spread(y) if y_spread is None else y_spread
    ball = y_radii[:, PRECISION_NEIGHBOURS]
    precise = 0.0
    dense = 0.0
    nearest: list[Tensor] = []
    recalled = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    closest = torch.full((len(y),), torch.inf, device=y.device)
    usual = y_radii[:, 1].median().item()
    size = max(1, ENTRIES // len(y))
    for part, radius in zip(x.split(size), x_radii[:, PRECISION_NEIGHBOURS].split(size), strict=True):
        apart = torch.cdist(part, y)
        precise += (apart <= ball).any(1).sum().item()
        dense += (apart < y_radii[:, DENSITY_NEIGHBOURS]).sum().item()
        recalled |= (apart <= radius[:, None]).any(0)
        closest = torch.minimum(closest, apart.amin(0))
        nearest.append(apart.amin(1))
    return {
        "precision": precise / len(x),
        "recall": recalled.double().mean().item(),
        "density": dense / (DENSITY_NEIGHBOURS * len(x)),
        "coverage": (closest < y_radii[:, DENSITY_NEIGHBOURS]).double().mean().item(),
        "nearest": (torch.cat(nearest).median() / usual).item() if usual else None,
        "diversity": x_mean / y_mean if y_mean else None,
    }


def spread(x: Tensor) -> Spread:
    """Return the distances within a set of vectors (n, d), n at least DENSE + 1."""
    radii: list[Tensor] = []
    total = 0.0
    for part in x.split(max(1, ENTRIES // len(x))):
        apart = torch.cdist(part, x)
        radii.append(apart.topk(DENSITY_NEIGHBOURS + 1, largest=False).values)
        total += apart.sum(dtype=torch.float64).item()
    return Spread(torch.cat(radii), total / (len(x) * (len(x) - 1)))
