"""Figures to log of a training: coverage and spread of samples, errors by noise level and near the data."""

import torch
from torch import Tensor

from ..core.prediction import ratio_of
from ..core.schedule import Schedule
from .distances import per_sample

NEIGHBOUR_COUNT = 5  # real examples whose distance is the radius of a ball
FEWEST_EXAMPLES = 8  # below which coverage means nothing
LEVEL_NAMES = ("low", "mid", "high")  # thirds of the times


@torch.no_grad()
def coverage(real: Tensor, samples: Tensor) -> Tensor:
    """Return the fraction of real examples with a generated sample in their ball (Naeem et al. 2020).

    A ball of a real example reaches to its fifth nearest real neighbour. About 0.97 if both batches are of
    one distribution and of one size; NaN if there are too few examples, or none are real.

    Args:
        real: examples (B, ...).
        made: generated samples (N, ...).
    """
    if len(real) < FEWEST_EXAMPLES:
        return torch.tensor(torch.nan)
    a = real.flatten(1).float()
    b = samples.flatten(1).float()
    nearest = min(NEIGHBOUR_COUNT + 1, len(a))  # the first neighbour of an example is itself
    radius = torch.cdist(a, a).kthvalue(nearest, dim=1).values
    inside = (torch.cdist(a, b) <= radius[:, None]).any(1).float().mean()
    return torch.where(a.isfinite().all(), inside, torch.nan)


@torch.no_grad()
def spread(samples: Tensor) -> Tensor:
    """Return the root mean square of samples (B, ...) about their mean."""
    return (samples - samples.mean(0)).float().square().mean().sqrt()


def by_level(name: str, value: Tensor, fraction: Tensor) -> dict[str, Tensor]:
    """Return logs of a value: its mean, and its mean in each third of the times.

    Args:
        name: of the mean; the thirds have the suffixes _low, _mid and _high.
        value: of each example (B,).
        share: times (B,) as fractions of t_max. A third without examples is 0.
    """
    third = (3 * fraction).long().clamp(0, 2).to(value.device)
    inside = third[:, None] == torch.arange(3, device=value.device)
    sums = torch.where(inside, value[:, None], 0).sum(0)  # a value that is not finite stays in its third
    means = sums / inside.sum(0).clamp(min=1)
    return {name: value.mean()} | {f"{name}_{level}": mean for level, mean in zip(LEVEL_NAMES, means)}


def boundary(schedule: Schedule, t: Tensor, f: Tensor, x0: Tensor) -> dict[str, Tensor]:
    """Return a log of clean predictions where sigma is below alpha / 10: their distance from x0.

    Args:
        schedule: of the times.
        t: times (B,).
        f: clean predictions (B, ...).
        x0: the data (B, ...). The log is 0 if no example is near them.
    """
    near = (ratio_of(schedule, t) < 0.1).to(x0.device)
    error = per_sample((f.detach() - x0).square()).sqrt()
    return {"boundary": torch.where(near, error, 0).sum() / near.sum().clamp(min=1)}
