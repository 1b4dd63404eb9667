"""Checks of a stage before it is trained: its data, its base, and data that are nothing."""

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Flow
from fastdiff.data.registry import Dataset
from fastdiff.networks import mlp, unet
from fastdiff.runs.checks import check_base, check_data, check_like
from fastdiff.runs.recipe import build
from tests.helpers.recipes import PLAIN

POINTS = Dataset("points", torch.zeros(4, 2), torch.tensor([0, 1, 2, 1]), 3)
LOW = torch.zeros(4, 1, 4, 4, dtype=torch.uint8)
IMAGES = Dataset("images", torch.zeros(4, 1, 8, 8), image=LOW)


def points(classes=0):
    return Denoiser(mlp((2,), classes, width=8), Flow(), "velocity", (2,))


def refining(image=1, side=8):
    net = unet((1, side, side), channels=(8, 8), layers=1, groups=4, image=image)
    return Denoiser(net, Flow(), "velocity", (1, side, side))


@pytest.mark.parametrize(
    ("model", "data", "line"),
    [
        (points, IMAGES, r"stage a: b makes samples of shape \(2,\), the data have \(1, 8, 8\)"),
        (lambda: points(2), POINTS, "stage a: b has other classes than the data: labels: expected 0 to 1"),
        (lambda: refining(3), IMAGES, "on images of 3 channels, the data images have 1; set `image`"),
        (refining, Dataset("images", IMAGES.examples), "of 1 channels, the data images have no such images"),
    ],
)
def test_a_model_that_does_not_fit_its_data_is_refused(model, data, line):
    with pytest.raises(FastdiffError, match=line):
        check_data("stage a: b", model(), data)


def test_what_fits_passes():
    for model, data in ((None, IMAGES), (points(3), POINTS), (points(), POINTS), (refining(), IMAGES)):
        check_data("stage a: b", model, data)


def test_a_base_makes_what_the_model_above_it_refines():
    stage = build(PLAIN).stages[0]
    check_base(stage, refining(), refining(0, 4), IMAGES)
    with pytest.raises(
        FastdiffError, match=r"stage teacher.base: None generates \(1, 8, 8\), expected \(1, 4, 4\)"
    ):
        check_base(stage, refining(), refining(0, 8), IMAGES)
    with pytest.raises(FastdiffError, match="this model has no conditioning image; set `image`"):
        check_base(stage, refining(0), refining(0, 4), IMAGES)


def test_nothing_is_judged_by_data_of_its_shape_and_classes():
    check_like("a", POINTS, Dataset("others", torch.ones(9, 2), torch.zeros(9, dtype=torch.int64), 3))
    for other in (IMAGES, Dataset("points", torch.zeros(4, 2))):
        with pytest.raises(FastdiffError, match=r"^stages.a.data: `nothing` has shape \(2,\) and 3 classes"):
            check_like("a", POINTS, other)
