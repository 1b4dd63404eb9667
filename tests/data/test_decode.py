"""Image files from strangers: broken ones are named, turned ones are set upright."""

import io
import os
import warnings

import numpy as np
import pytest
from PIL import Image

from fastdiff.core.errors import FastdiffError
from fastdiff.data.decode import read_picture, read_run_picture
from fastdiff.data.registry import open_dataset
from tests.helpers.images import picture, save

pytestmark = pytest.mark.usefixtures("private_cache")


@pytest.mark.parametrize("damage", ["cut short", "not an image", "sixteen bits"])
def test_bad_image_is_named(tmp_path, damage):
    save(tmp_path / "a.png", picture(40, 40))
    bad = tmp_path / "bad.png"
    if damage == "sixteen bits":
        Image.fromarray(np.full((40, 40), 40_000, np.uint16)).save(bad)
    else:
        bad.write_bytes((tmp_path / "a.png").read_bytes()[:1000] if damage == "cut short" else b"hello")
    with pytest.raises(FastdiffError, match=r"bad\.png: (not a readable image|pixels of mode I)"):
        open_dataset(str(tmp_path))


def file_of(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def test_a_photograph_taken_with_a_turned_camera_is_set_upright():
    image = picture(6, 4)
    turned = Image.Exif()
    turned[0x0112] = 6  # the top of the scene is at the right of what is stored
    read = read_picture(file_of(image, "PNG", exif=turned))
    assert read.size == (4, 6)
    assert np.array_equal(np.array(read), np.rot90(np.array(image), -1))


@pytest.mark.parametrize("kind", ["EPS", "TGA", "PCX"])
def test_other_formats_are_not_opened(kind):
    with pytest.raises(ValueError, match="cannot identify image file") as caught:
        read_picture(file_of(picture(), kind))
    assert "\n" not in str(caught.value)


def test_a_drawn_picture_that_is_none_is_named(tmp_path):
    (tmp_path / "m-1.png").write_bytes(b"hello")
    with pytest.raises(FastdiffError, match=r"m-1\.png: expected a PNG picture \(.*\); delete it and bench"):
        read_run_picture(tmp_path / "m-1.png")
    save(tmp_path / "m-2.png", picture())
    assert read_run_picture(tmp_path / "m-2.png").size == (6, 6)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "L", "CMYK", "YCbCr"])
def test_every_mode_of_eight_bits_is_read(tmp_path, mode):
    image = picture().convert("L").convert(mode) if mode in ("LA", "1") else picture().convert(mode)
    save(tmp_path / f"a.{'jpg' if mode in ('CMYK', 'YCbCr') else 'png'}", image)
    assert open_dataset(str(tmp_path)).shape == (3, 6, 6)
    assert open_dataset(str(tmp_path), colour="grey").shape == (1, 6, 6)


def test_damaged_metadata_of_a_sound_picture_are_left_out():
    turned = Image.Exif()
    turned[0x0112] = 6
    damaged = bytearray(file_of(picture(6, 4), "JPEG", exif=turned).getvalue())
    start = damaged.find(b"Exif\0\0") + 6
    damaged[start : start + 8] = b"\xff" * 8
    assert read_picture(io.BytesIO(damaged)).size == (6, 4)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("/nowhere")
    for name, words in (("a.png", "not a file"), ("b.png", "no such file"), ("", "not a file")):
        with pytest.raises(ValueError, match=words):
            read_picture(tmp_path / name)


def test_the_number_of_pixels_decides_and_not_the_filter_of_warnings(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_picture(file_of(picture(6, 6), "PNG")).size == (6, 6)  # more than 20, at most 40
    with pytest.raises(ValueError, match="more than 40 pixels; shrink it, or raise PIL"):
        read_picture(file_of(picture(9, 9), "PNG"))
