"""A safe reader of untrusted image files: a few formats only, and a limit on the number of pixels."""

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
)  # recognised by content; for some other formats Pillow would start external programs


def read_picture(file: Path | str | BinaryIO) -> Image.Image:
    """Read an image file and apply its EXIF orientation.

    Args:
        file: a path or an open binary file.

    Raises:
        ValueError: in one line, if the file is not a readable image. Pillow rejects an image of more than
            2 x Image.MAX_IMAGE_PIXELS by its header, before it allocates memory.
    """
    try:
        with Image.open(file, formats=IMAGE_FORMATS) as picture:
            picture.load()
            return ImageOps.exif_transpose(picture)
    except Exception as error:  # a broken file can fail anywhere in its decoder
        raise ValueError(first_line(error)) from None


def read_run_picture(path: Path) -> Image.Image:
    """Read a picture that a run has drawn.

    Raises:
        FastdiffError: if the file is missing or damaged.
    """
    try:
        return read_picture(path)
    except ValueError as error:
        raise FastdiffError(
            f"{path}: expected a PNG picture ({error}); delete it and bench again with a new --out"
        ) from None
