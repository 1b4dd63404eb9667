"""Downscaled pixels as features: the side that fits, means by hand, and what a stored image would show."""

import pytest
import torch

from fastdiff.evaluation.metrics.pixels import Pixels


@pytest.mark.parametrize(
    "shape, name",
    [
        ((3, 64, 64), "px16"),
        ((1, 8, 8), "px8"),
        ((3, 20, 11), "px8"),
        ((4, 16, 99), "px16"),
        ((3, 1, 1), "px1"),
    ],
)
def test_the_side_is_the_largest_power_of_two_that_fits(shape, name):
    pixels = Pixels.fit(shape, "cpu")
    assert pixels.name == name and pixels.named("energy") == f"energy_{name}"
    features = pixels(torch.zeros(2, *shape))["features"]
    assert features.shape == (2, shape[0] * pixels.side**2)


def test_features_are_means_of_the_stored_image():
    image = torch.full((1, 1, 32, 32), -1.0)
    image[0, 0, :2, 0] = 1  # half of the first cell
    image[0, 0, :2, 2:4] = 7  # stored as white, as 1 is
    features = Pixels.fit(image.shape[1:], "cpu")(image)["features"][0]
    assert features[:3].tolist() == [0, 1, -1] and features[3:].eq(-1).all()


def test_each_side_has_a_fingerprint_of_its_own():
    fine, coarse = Pixels.fit((3, 32, 32), "cpu"), Pixels.fit((3, 8, 8), "cpu")
    assert len(fine.fingerprint) == 12 and fine.fingerprint != coarse.fingerprint
    assert str(fine) == f"px16@{fine.fingerprint}"
