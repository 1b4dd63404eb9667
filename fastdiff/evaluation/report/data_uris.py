"""Pictures of a run as data URIs, compressed where they are too large for one page."""

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ...data.decode import read_run_picture

ROWS = 8  # samples in the picture of trajectories


class Compression(NamedTuple):
    """A compression of pictures as WebP.

    Args:
        side: largest side of a tile, in pixels.
        quality: quality from 0 to 100; 100 is lossless.
    """

    side: int
    quality: int


COMPRESSIONS = (
    Compression(1000, 100),
    Compression(256, 90),
    Compression(128, 85),
    Compression(64, 70),
    Compression(32, 50),
    Compression(16, 30),
)


def pictures(
    folder: Path, names: Iterable[str | None], room: int, columns: int | None = None
) -> dict[str, str]:
    """Return the existing PNG files as data URIs, by name; as WebP if they exceed `room` bytes.

    All files get the same compression, the first of COMPRESSIONS with which they fit, so that sheets have
    equal rows. The result is empty if none of them suffices.
    """
    paths = {name: folder / f"{name}.png" for name in names if (folder / f"{name}.png").exists()}
    for compression in (None, *COMPRESSIONS):
        encoded = {}
        left = room
        for name, path in paths.items():
            code = path.read_bytes() if compression is None else _webp(path, columns, compression)
            form = "webp" if compression else "png"
            encoded[name] = f"data:image/{form};base64,{base64.b64encode(code).decode()}"
            left -= len(code)
            if left < 0:
                break
        else:
            return encoded
    return {}


def _webp(path: Path, columns: int | None, compression: Compression) -> bytes:
    """Return a picture as WebP, with smaller tiles; a sheet that is not square is cut to its first row."""
    side, quality = compression
    image = read_run_picture(path).convert("RGB")
    if columns and image.width != image.height:
        tile = max(1, image.width // columns)
        image = image.crop((0, 0, image.width, tile))
    else:
        tile = image.height // (1 if columns else ROWS)
    if tile > side:
        image = image.resize([round(length * side / tile) for length in image.size], Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "webp", lossless=quality == 100, quality=min(quality, 90), method=2)
    return buffer.getvalue()
