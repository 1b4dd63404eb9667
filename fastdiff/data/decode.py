"""A safe reader of untrusted image files: a few formats only, and a limit on the number of pixels."""

import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps

from ..core.errors import FastdiffError, first_line
from ..core.memory import check_memory

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

    An orientation that cannot be read is left out.

    Raises:
        ValueError: in one line, if the file is not a readable image. Pillow rejects an image of more than
            2 x Image.MAX_IMAGE_PIXELS by its header, before it allocates memory.
    """
    if isinstance(file, Path | str) and not os.path.isfile(file):  # a pipe would block
        raise ValueError("not a file" if os.path.exists(file) else "no such file")
    try:
        with opened(file) as picture:
            picture.load()
            with suppress(Exception):  # damaged metadata of a sound picture
                return ImageOps.exif_transpose(picture)
            return picture
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ValueError(
            f"it has more than {most:,} pixels; shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS"
        ) from None
    except Exception as error:  # a broken file can fail anywhere in its decoder
        raise ValueError(first_line(error)) from None


def opened(file: Path | str | BinaryIO) -> Image.Image:
    """Open an image file; a warning of its size that a filter has made an error is ignored."""
    try:
        return Image.open(file, formats=IMAGE_FORMATS)
    except Image.DecompressionBombWarning:
        if not isinstance(file, Path | str):
            file.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(file, formats=IMAGE_FORMATS)


def check_size(count: int, channels: int, height: int, width: int, stream: bool) -> str:
    """Return what to do if images do not fit into memory; raise FastdiffError if they never do.

    Args:
        count: number of images.
        channels: channels of an image.
        height: height in pixels.
        width: width in pixels.
        stream: whether they are the reference examples of a stream.
    """
    shown = f"{count:,} images x {channels} x {height:,} x {width:,} bytes"
    other = "set `resolution` or `limit`, or read them as a stream (name: stream)"
    if stream:
        other = "set a smaller `resolution` or `reference`"
    check_memory(count * channels * height * width, shown, other)
    return f"{shown}; {other}"


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
