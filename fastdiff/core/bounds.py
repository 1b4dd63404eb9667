"""Bounds of x0: clipping and dynamic thresholding, and those that a model records."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from .oversaturation import thresholded
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
