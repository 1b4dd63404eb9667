"""Image files, opened with suspicion: pictures of a few formats, and none of more pixels than a picture has."""

from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps

from ..core.errors import FastdiffError

FORMATS = (
    "PNG",
    "JPEG",
    "WEBP",
    "BMP",
    "GIF",
    "TIFF",
    "PPM",
)  # told by content: others may start programs to be read


def read_picture(file: Path | str | BinaryIO) -> Image.Image:
    """The picture in a file, upright, its pixels read; ValueError in one line where there is none, or it is too large.

    Pillow refuses what has more than 2 x Image.MAX_IMAGE_PIXELS by its header, before it takes any memory.
    """
    try:
        with Image.open(file, formats=FORMATS) as picture:
            picture.load()
            return ImageOps.exif_transpose(picture)
    except Exception as error:  # a broken file can fail anywhere in its decoder
        raise ValueError((str(error).strip().splitlines() or [type(error).__name__])[0]) from None


def drawn(path: Path) -> Image.Image:
    """A picture that a run has drawn."""
    try:
        return read_picture(path)
    except ValueError as error:
        raise FastdiffError(
            f"{path}: expected a PNG picture ({error}); delete it and bench again with a new --out"
        ) from None
