"""Pictures of samples: sheets of images, scatter plots of points, PNG files."""

import io
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from ..core.files import atomic_write


def to_uint8(images: Tensor) -> Tensor:
    """Map images from [-1, 1] to uint8, 0 ... 255, rounding half up.

    Truncation would darken half of the pixels by one level.
    """
    return (images * 127.5 + 128).floor().clamp(0, 255).to(torch.uint8)


def picture(x: Tensor, columns: int = 8, zoom: int = 1, gap: int = 0) -> Image.Image:
    """Draw samples as one picture.

    Args:
        x: images (n, C, H, W) in [-1, 1], drawn as a sheet; or vectors (n, D), drawn as points.
        columns: number of columns of the sheet.
        zoom: factor by which the sheet is enlarged, by repeating pixels.
        gap: width of the black lines between the images, in pixels of the images.
    """
    if x.ndim == 2:
        return scatter(x)
    pixels = to_uint8(x.float().cpu()).numpy()
    missing = -len(pixels) % columns
    pixels = np.concatenate([pixels, np.zeros((missing, *pixels.shape[1:]), np.uint8)])
    pixels = np.pad(pixels, ((0, 0), (0, 0), (0, gap), (0, gap)))
    sheet = rearrange(pixels, "(rows columns) c h w -> (rows h) (columns w) c", columns=columns)
    sheet = sheet[: len(sheet) - gap, : sheet.shape[1] - gap]
    sheet = sheet.repeat(zoom, 0).repeat(zoom, 1)
    return Image.fromarray(sheet[:, :, 0] if sheet.shape[2] == 1 else sheet[:, :, :3])


def scatter(x: Tensor, limit: float = 1.4) -> Image.Image:
    """Plot the first two coordinates of vectors (n, D), in the square [-limit, limit]^2."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.4, 2.4), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.scatter(*x[:, :2].float().cpu().T.numpy(), s=2, alpha=0.5, linewidths=0)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[])
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return Image.open(buffer).convert("RGB")


def hstack(images: list[Image.Image]) -> Image.Image:
    """Join pictures of one size, from left to right."""
    joined = Image.new(images[0].mode, (sum(image.width for image in images), images[0].height))
    for place, image in enumerate(images):
        joined.paste(image, (place * image.width, 0))
    return joined


def save(image: Image.Image, path: Path) -> None:
    """Write a PNG file atomically, and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, sync=False) as scratch:
        image.save(scratch, format="PNG")
