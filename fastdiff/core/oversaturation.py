"""Two remedies for the oversaturation of strong guidance: rescaling and dynamic thresholding."""

import torch
from torch import Tensor

from .broadcast import like


def rescaling(value: Tensor, towards: Tensor, fraction: float) -> Tensor:
    """Return the factors (B, 1, ...) that move each sample's standard deviation towards another's.

    The factor of a constant sample is 1.

    Args:
        value: the tensor (B, ...) to be rescaled.
        towards: the tensor (B, ...) whose standard deviation is the aim.
        fraction: fraction of the way, 0 to 1.
    """
    axes = tuple(range(1, value.ndim))
    ratio = towards.std(axes, correction=0, keepdim=True) / value.std(axes, correction=0, keepdim=True)
    return torch.lerp(torch.ones_like(ratio), ratio.nan_to_num(nan=1.0), fraction)


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
