"""Two remedies for the oversaturation of strong guidance: rescaling and dynamic thresholding."""

import torch
from torch import Tensor

from .broadcast import like


def rescaled(value: Tensor, towards: Tensor, fraction: float, origin: Tensor | float = 0.0) -> Tensor:
    """Move each sample's standard deviation towards another's, by a factor of its difference from an origin.

    The factor of a constant sample is 1. Lin et al. 2024, algorithm 2.

    Args:
        value: the tensor (B, ...) to be rescaled.
        towards: the tensor (B, ...) whose standard deviation is the aim.
        fraction: fraction of the way, 0 to 1.
        origin: the point (B, ...) from which both are measured.
    """
    axes = tuple(range(1, value.ndim))
    difference = value - origin
    aim = (towards - origin).std(axes, correction=0, keepdim=True)
    ratio = (aim / difference.std(axes, correction=0, keepdim=True)).nan_to_num(nan=1.0)
    return origin + difference * torch.lerp(torch.ones_like(ratio), ratio, fraction)


def thresholded(x0: Tensor, quantile: float, largest: float | None = None) -> Tensor:
    """Return x0 clipped to a quantile of each sample's |x0| and divided by it, where that is above 1.

    Imagen, Saharia et al. 2022, section 2.3.

    Args:
        x0: clean predictions (B, ...).
        quantile: the quantile, between 0 and 1.
        largest: largest bound, at least 1; None for no largest.
    """
    bound = like(x0.flatten(1).abs().quantile(quantile, dim=1).clamp(min=1, max=largest), x0)
    return x0.clamp(-bound, bound) / bound
