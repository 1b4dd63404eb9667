"""Samples as pictures: rounding of pixels, places in a sheet, points in the plane."""

import numpy as np
import pytest
import torch
from PIL import Image

from fastdiff.data.image_grid import hstack, picture, save, to_uint8


def test_every_level_of_grey_survives_the_way_through_a_model():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(levels.float() / 127.5 - 1), levels)
    assert to_uint8(torch.tensor([-7.0, 7.0, 0.49 / 127.5, 0.51 / 127.5])).tolist() == [0, 255, 128, 128]


def test_a_sheet_is_filled_row_by_row_and_ends_in_black():
    values = torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0])
    sheet = np.array(picture(values.view(5, 1, 1, 1).expand(-1, -1, 2, 3), columns=3, zoom=2))
    assert sheet.shape == (8, 18)
    wanted = [[153, 179, 204], [230, 255, 0]]
    assert np.array_equal(sheet, np.repeat(np.repeat(np.array(wanted), 4, 0), 6, 1))
    assert picture(torch.zeros(2, 4, 5, 5)).mode == "RGB"  # the fourth channel of latents is not drawn


def test_images_of_a_sheet_are_apart_by_the_gap():
    sheet = np.array(picture(torch.ones(4, 1, 2, 2), columns=2, zoom=2, gap=1))
    line = [255] * 4 + [0] * 2 + [255] * 4
    assert np.array_equal(sheet, np.minimum.outer(line, line))
    assert picture(torch.ones(1, 1, 2, 2), columns=1, gap=3).size == (2, 2)


def test_a_point_is_drawn_at_its_place():
    drawn = np.array(picture(torch.tensor([[0.7, 0.7], [0.7, 0.7]])).crop((5, 5, 235, 235)))  # no frame
    inked = np.argwhere(drawn.min(2) < 250)
    assert inked.mean(0).tolist() == pytest.approx([55, 175], abs=1)  # rows from the top
    assert np.ptp(inked, axis=0).max() < 6


def test_pictures_are_joined_and_kept(tmp_path):
    joined = hstack([Image.new("L", (3, 2), 10), Image.new("L", (3, 2), 20)])
    save(joined, tmp_path / "new" / "both.png")
    assert np.array_equal(np.array(Image.open(tmp_path / "new" / "both.png")), [[10] * 3 + [20] * 3] * 2)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["both.png"]
