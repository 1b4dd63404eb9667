"""Bounds of x0: clipping and dynamic thresholding, and those that a model records."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from .broadcast import like
from .sampling import Sampling

if TYPE_CHECKING:
    from .guidance import GuidanceOptions


OWN_UNLESS_GIVEN = ("keep_eps", "end", "time_rounding")


def with_recorded(options: "GuidanceOptions", sampling: Sampling) -> "GuidanceOptions":
    """Return settings of guidance in which what was left open is what a model records.

    Args:
        options: settings of guidance; a clip of inf stands for no bound.
        sampling: what the model records.
    """
    unbounded = options.clip is None and options.threshold is None
    own = ("clip", "threshold", "threshold_max") if unbounded else ()
    own += tuple(name for name in OWN_UNLESS_GIVEN if getattr(options, name) is None)
    options = replace(options, **{name: getattr(sampling, name) for name in own})
    return replace(options, clip=None) if options.clip == math.inf else options


def bounded(x0: Tensor, options: "GuidanceOptions") -> Tensor:
    """Return x0 (B, ...) clipped or thresholded as the options say."""
    if options.clip is not None:
        return x0.clamp(-options.clip, options.clip)
    if options.threshold is None:
        return x0
    return thresholded(x0, options.threshold, options.threshold_max)


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
