"""Samples as PIL images, as sheets and as folders of files."""

import numpy as np
import pytest
import torch
from PIL import Image

import fastdiff
from fastdiff.core.errors import FastdiffError


def test_images_of_pil():
    images = torch.linspace(-1, 1, 3 * 3 * 4 * 4).view(3, 3, 4, 4)
    made = fastdiff.to_pil(images)
    assert [image.size for image in made] == [(4, 4)] * 3 and made[0].mode == "RGB"
    assert np.array(made[0])[0, 0, 0] == 0 and np.array(made[2])[-1, -1, -1] == 255
    [grey] = fastdiff.to_pil(images[0, :1])
    assert grey.mode == "L"


def test_a_sheet_or_a_folder(tmp_path):
    images = torch.zeros(4, 1, 8, 8)
    fastdiff.save(images, tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size == (16 * 17, 16 * 17)
    fastdiff.save(images, str(tmp_path / "each"))
    assert [path.name for path in sorted((tmp_path / "each").iterdir())] == [f"{i:06d}.png" for i in range(4)]
    fastdiff.save(torch.zeros(4, 2), tmp_path / "points.png")


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(FastdiffError, match=r"images of shape \(2, 2, 8, 8\): expected \(n, C, H, W\)"):
        fastdiff.to_pil(torch.zeros(2, 2, 8, 8))
    with pytest.raises(FastdiffError, match="expected a .png for one sheet"):
        fastdiff.save(torch.zeros(1, 1, 8, 8), tmp_path / "sheet.jpg")
    (tmp_path / "file").touch()
    with pytest.raises(FastdiffError, match="cannot be written"):
        fastdiff.save(torch.zeros(1, 1, 8, 8), tmp_path / "file" / "sheet.png")
