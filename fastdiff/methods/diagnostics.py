"""How much of the data a batch of samples covers, and how far they are spread."""

import torch
from torch import Tensor

NEAREST = 5
FEWEST = 8             # examples that say anything


@torch.no_grad()
def coverage(real: Tensor, made: Tensor) -> Tensor:
    """The share of real examples (B, ...) with a sample within the ball of their nearest NEAREST real neighbours.

    (Naeem et al. 2020.) About 0.97 where both are of one distribution and as many; NaN where there are too few, or no real
    examples.
    """
    if len(real) < FEWEST:
        return torch.tensor(torch.nan)
    a, b = (x.flatten(1).float() for x in (real, made))
    radius = torch.cdist(a, a).kthvalue(min(NEAREST + 1, len(a)), dim=1).values           # the first neighbour is itself
    inside = (torch.cdist(a, b) <= radius[:, None]).any(1).float().mean()
    return torch.where(a.isfinite().all(), inside, torch.nan)


@torch.no_grad()
def spread(made: Tensor) -> Tensor:
    """The root mean square of samples (B, ...) about their mean."""
    return (made - made.mean(0)).float().square().mean().sqrt()
