"""What nearest neighbours tell of generated samples: fidelity, coverage of the data, copies, diversity."""

from functools import lru_cache

import torch
from torch import Tensor

from ...core.errors import FastdiffError

NEAREST = 3  # neighbours of improved precision and recall, as the paper has them
DENSE = 5  # and of density and coverage
ENTRIES = 2**22  # distances held at a time


def neighbourhood(x: Tensor, y: Tensor) -> dict[str, float | None]:
    """Figures of generated x (n, d) against real y (m, d), all from one pass over their distances.

    precision, recall: the share of x inside the balls around y that reach to the third neighbour, and of y around x
    (Kynkaanniemi et al. 2019). density, coverage: balls of y to the fifth neighbour counted around each x; the share of
    them that hold an x (Naeem et al. 2020). nearest: the median distance of an x to its nearest y, over that of a y to
    its nearest other y: well below 1 means copies. diversity: the mean distance between two x, over that of two y.
    Both are None where the data hold little but duplicates.
    """
    if min(len(x), len(y)) <= DENSE:
        raise FastdiffError(
            f"n = {len(x)} and {len(y)}: neighbours need at least {DENSE + 1} samples of each"
        )
    x_radii, x_spread = _radii.__wrapped__(x)
    y_radii, y_spread = _radii(y)
    ball = y_radii[:, NEAREST]
    precise, dense, nearest = 0.0, 0.0, []
    recalled = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    closest = torch.full((len(y),), torch.inf, device=y.device)
    usual, size = y_radii[:, 1].median().item(), max(1, ENTRIES // len(y))
    for part, radius in zip(x.split(size), x_radii[:, NEAREST].split(size), strict=True):
        apart = torch.cdist(part, y)
        precise += (apart <= ball).any(1).sum().item()
        dense += (apart < y_radii[:, DENSE]).sum().item()
        recalled |= (apart <= radius[:, None]).any(0)
        closest = torch.minimum(closest, apart.amin(0))
        nearest.append(apart.amin(1))
    return {
        "precision": precise / len(x),
        "recall": recalled.double().mean().item(),
        "density": dense / (DENSE * len(x)),
        "coverage": (closest < y_radii[:, DENSE]).double().mean().item(),
        "nearest": (torch.cat(nearest).median() / usual).item() if usual else None,
        "diversity": x_spread / y_spread if y_spread else None,
    }


@lru_cache(maxsize=2)  # the real samples are the same in every cell of a benchmark
def _radii(x: Tensor) -> tuple[Tensor, float]:
    """Distances of each sample to itself and its nearest others (n, DENSE + 1), and the mean distance of two."""
    radii, total = [], 0.0
    for part in x.split(max(1, ENTRIES // len(x))):
        apart = torch.cdist(part, x)
        radii.append(apart.topk(DENSE + 1, largest=False).values)
        total += apart.sum(dtype=torch.float64).item()
    return torch.cat(radii), total / (len(x) * (len(x) - 1))
