"""How much of the data a batch of samples covers, and how far they are spread."""

import torch
from torch import Tensor

from ..core.prediction import ratio_of
from ..core.schedule import Schedule
from .distances import per_sample

NEAREST = 5
FEWEST = 8  # examples that say anything


@torch.no_grad()
def coverage(real: Tensor, made: Tensor) -> Tensor:
    """The share of real examples (B, ...) with a sample within the ball of their nearest NEAREST real neighbours.

    (Naeem et al. 2020.) About 0.97 where both are of one distribution and as many; NaN where there are too
    few, or no real examples.
    """
    if len(real) < FEWEST:
        return torch.tensor(torch.nan)
    a, b = (x.flatten(1).float() for x in (real, made))
    radius = (
        torch.cdist(a, a).kthvalue(min(NEAREST + 1, len(a)), dim=1).values
    )  # the first neighbour is itself
    inside = (torch.cdist(a, b) <= radius[:, None]).any(1).float().mean()
    return torch.where(a.isfinite().all(), inside, torch.nan)


@torch.no_grad()
def spread(made: Tensor) -> Tensor:
    """The root mean square of samples (B, ...) about their mean."""
    return (made - made.mean(0)).float().square().mean().sqrt()


def by_level(name: str, value: Tensor, share: Tensor) -> dict[str, Tensor]:
    """What to log of a value (B,): its mean, and that of each third of the times, as shares of t_max (0 where none is)."""
    inside = (3 * share).long().clamp(0, 2).to(value.device)[:, None] == torch.arange(3, device=value.device)
    parts = torch.where(inside, value[:, None], 0).sum(0) / inside.sum(0).clamp(
        min=1
    )  # what is not finite stays apart
    return {name: value.mean()} | {
        f"{name}_{level}": part for level, part in zip(("low", "mid", "high"), parts)
    }


def boundary(schedule: Schedule, t: Tensor, f: Tensor, x0: Tensor) -> dict[str, Tensor]:
    """What to log of clean predictions f near the data, sigma below alpha / 10: their distance from x0 (0 where none is)."""
    near = (ratio_of(schedule, t) < 0.1).to(x0.device)
    error = per_sample((f.detach() - x0).square()).sqrt()
    return {"boundary": torch.where(near, error, 0).sum() / near.sum().clamp(min=1)}
