"""Metrics of nearest neighbours: fidelity of samples, coverage of the data, copies and diversity."""

from typing import NamedTuple

import torch
from torch import Tensor

from ...core.errors import FastdiffError

PRECISION_NEIGHBOURS = 3  # neighbours of improved precision and recall, as in the paper
DENSITY_NEIGHBOURS = 5  # neighbours of density and coverage
ENTRIES = 2**22  # most distances in memory


class Spread(NamedTuple):
    """The distances within a set of vectors.

    Args:
        radii: sorted distances (n, DENSITY_NEIGHBOURS + 1) of each vector to itself and its nearest others.
        mean: mean distance of two vectors.
    """

    radii: Tensor
    mean: float


def neighbourhood(x: Tensor, y: Tensor, y_spread: Spread | None = None) -> dict[str, float | None]:
    """Return the metrics of nearest neighbours, from one pass over the distances between two sets.

    The k-ball of a vector is the ball around it that reaches to its k-th neighbour in its own set.

    Args:
        x: generated vectors (n, d).
        y: real vectors (m, d).
        y_spread: `spread(y)`, if known.

    Returns:
        precision: fraction of x inside the 3-balls of y, 0 to 1 (Kynkaanniemi et al. 2019).
        recall: fraction of y inside the 3-balls of x, 0 to 1.
        density: mean number of 5-balls of y that contain an x, divided by 5 (Naeem et al. 2020).
        coverage: fraction of the 5-balls of y that contain an x, 0 to 1.
        nearest: median distance of x to the nearest y, divided by that of y to the nearest other y. Values
            well below 1 indicate copies.
        diversity: mean distance between two x, divided by that between two y.
        nearest and diversity are None if almost all of the data are duplicates.

    Raises:
        FastdiffError: for too few vectors in a set.
    """
    if min(len(x), len(y)) <= DENSITY_NEIGHBOURS:
        raise FastdiffError(
            f"n = {len(x)} and {len(y)}: expected at least {DENSITY_NEIGHBOURS + 1} samples of each for "
            "neighbours"
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
    """Return the distances within a set of vectors (n, d), with n > DENSITY_NEIGHBOURS."""
    radii: list[Tensor] = []
    total = 0.0
    for part in x.split(max(1, ENTRIES // len(x))):
        apart = torch.cdist(part, x)
        radii.append(apart.topk(DENSITY_NEIGHBOURS + 1, largest=False).values)
        total += apart.sum(dtype=torch.float64).item()
    return Spread(torch.cat(radii), total / (len(x) * (len(x) - 1)))
