"""Image files from strangers: only a few formats are opened, and none with too many pixels."""

from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps

from ..core.errors import FastdiffError, first_line

IMAGE_FORMATS = (
    "PNG",
    "JPEG",
    "WEBP",
    "BMP",
    "GIF",
    "TIFF",
    "PPM",
)  # recognised by content; Pillow starts programs to read some others


def read_picture(file: Path | str | BinaryIO) -> Image.Image:
    """Read the picture in a file, turned upright.

    Raises:
        ValueError: in one line, if there is none. Pillow rejects one of more than 2 x Image.MAX_IMAGE_PIXELS
            by its header, before it takes any memory.
    """
    try:
        with Image.open(file, formats=IMAGE_FORMATS) as picture:
            picture.load()
            return ImageOps.exif_transpose(picture)
    except Exception as error:  # a broken file can fail anywhere in its decoder
        raise ValueError(first_line(error)) from None


def read_run_picture(path: Path) -> Image.Image:
    """Read a picture that a run has drawn."""
    try:
        return read_picture(path)
    except ValueError as error:
        raise FastdiffError(
            f"{path}: expected a PNG picture ({error}); delete it and bench again with a new --out"
        ) from None
