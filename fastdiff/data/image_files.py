"""Samples as pictures and files of other programs: PIL images, sheets, and folders of PNG files."""

from pathlib import Path

from PIL import Image
from torch import Tensor

from ..core.errors import FastdiffError
from ..core.files import expanded
from . import image_grid
from .image_grid import picture

MIN_SHEET_WIDTH = 256  # pixels; sheets of small images are enlarged to it


def to_pil(images: Tensor) -> list[Image.Image]:
    """Return samples as PIL images.

    Example:
        >>> first, *others = fastdiff.to_pil(fastdiff.sample(model, n=4))

    Args:
        images: images (n, C, H, W) or one image (C, H, W) in [-1, 1], with 1 channel for grey or at least 3.

    Returns:
        One image per sample, in the modes L and RGB.

    Raises:
        FastdiffError: for another shape.
    """
    return [picture(image[None], columns=1) for image in batched(images)]


def save(images: Tensor, path: str | Path) -> None:
    """Save samples as one sheet, or each as a file of its own.

    Example:
        >>> fastdiff.save(images, "samples.png")
        >>> fastdiff.save(images, "samples")  # samples/000000.png, samples/000001.png, ...

    Args:
        images: images (n, C, H, W) or one image (C, H, W) in [-1, 1], or vectors (n, D).
        path: a .png file for one sheet, with small images enlarged; or a folder, which is created.

    Raises:
        FastdiffError: for another shape or format, and for a file that cannot be written.
    """
    path = expanded(path)
    samples = images if images.ndim == 2 else batched(images)
    suffix = path.suffix.lower()
    if suffix in Image.registered_extensions() and suffix != ".png":
        raise FastdiffError(f"{path}: expected a .png for one sheet, or a folder of single images")
    try:
        if suffix == ".png":
            image_grid.save(sheet(samples), path)
            return
        for number, sample in enumerate(samples):
            image_grid.save(picture(sample[None], columns=1), path / f"{number:06d}.png")
    except OSError as error:
        raise FastdiffError(f"{path}: cannot be written ({error.strerror}); name a writable place") from None


def sheet(samples: Tensor) -> Image.Image:
    """Return samples as one square sheet with a line between the images, and with small images enlarged.

    Args:
        samples: images (n, C, H, W) in [-1, 1], or vectors (n, D).
    """
    side = max(1, round(len(samples) ** 0.5))
    zoom = max(1, MIN_SHEET_WIDTH // (side * samples.shape[-1]))
    return picture(samples, side, zoom, gap=1)


def batched(images: Tensor) -> Tensor:
    """Return images (n, C, H, W); raise FastdiffError for another shape."""
    batch = images[None] if images.ndim == 3 else images
    if batch.ndim != 4 or batch.shape[1] == 2:
        raise FastdiffError(
            f"images of shape {tuple(images.shape)}: expected (n, C, H, W) with 1 or 3 channels, in [-1, 1]"
        )
    return batch
