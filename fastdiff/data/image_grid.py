"""Samples as PNG files."""

import io
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] -> 0 ... 255, rounding half up: truncation would darken every other pixel by one level."""
    return (images * 127.5 + 128).floor().clamp(0, 255).to(torch.uint8)


def picture(x: Tensor, columns: int = 8, zoom: int = 1) -> Image.Image:
    """Images (n, C, H, W) in [-1, 1] as a sheet of `columns`, or points (n, 2) as a scatter plot."""
    if x.ndim == 2:
        return scatter(x)
    pixels = to_uint8(x.float().cpu()).numpy()
    missing = -len(pixels) % columns
    pixels = np.concatenate([pixels, np.zeros((missing, *pixels.shape[1:]), np.uint8)])
    sheet = rearrange(pixels, "(rows columns) c h w -> (rows h) (columns w) c", columns=columns)
    sheet = sheet.repeat(zoom, 0).repeat(zoom, 1)
    return Image.fromarray(sheet[:, :, 0] if sheet.shape[2] == 1 else sheet[:, :, :3])


def scatter(x: Tensor, limit: float = 1.4) -> Image.Image:
    """The first two coordinates of vectors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.4, 2.4), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.scatter(*x[:, :2].float().cpu().T.numpy(), s=2, alpha=0.5, linewidths=0)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[])
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return Image.open(buffer).convert("RGB")


def beside(images: list[Image.Image]) -> Image.Image:
    """Pictures of one size, left to right."""
    joined = Image.new(images[0].mode, (sum(image.width for image in images), images[0].height))
    for place, image in enumerate(images):
        joined.paste(image, (place * image.width, 0))
    return joined


def save(image: Image.Image, path: Path) -> None:
    """Written to a temporary name and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}")
    image.save(scratch, format="PNG")
    scratch.replace(path)
