"""Bounds of x0 against diffusers', and the ones that a model records."""

import math

import diffusers
import pytest
import torch

from fastdiff.core.bounds import bounded, thresholded, with_recorded
from fastdiff.core.guidance import GuidanceOptions
from fastdiff.core.sampling import DATA, Sampling

X0 = 3 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("largest", [1.0, 1.5, 100.0])
def test_thresholds_are_those_of_diffusers(largest):
    theirs = diffusers.DDIMScheduler(
        thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=largest
    )
    torch.testing.assert_close(thresholded(X0, 0.9, largest), theirs._threshold_sample(X0))


def test_bounded_clips_or_thresholds_or_neither():
    assert bounded(X0, GuidanceOptions()) is X0
    assert torch.equal(bounded(X0, GuidanceOptions(clip=0.5)), X0.clamp(-0.5, 0.5))
    assert torch.equal(bounded(X0, GuidanceOptions(threshold=0.9)), thresholded(X0, 0.9))


def test_what_is_left_open_is_the_models_own():
    own = Sampling(clip=0.7, keep_eps=True, end=(0.9, 0.1), time_rounding="floor")
    found = with_recorded(GuidanceOptions(), own)
    assert (found.clip, found.keep_eps, found.end, found.time_rounding) == (0.7, True, (0.9, 0.1), "floor")
    given = with_recorded(GuidanceOptions(clip=2.0, keep_eps=False, end=DATA, time_rounding="exact"), own)
    assert (given.clip, given.keep_eps, given.end, given.time_rounding) == (2.0, False, DATA, "exact")
    assert with_recorded(GuidanceOptions(threshold=0.9), own).clip is None
    assert with_recorded(GuidanceOptions(clip=math.inf), own).clip is None
    thresholds = with_recorded(GuidanceOptions(), Sampling(threshold=0.9, threshold_max=1.5))
    assert (thresholds.threshold, thresholds.threshold_max) == (0.9, 1.5)
