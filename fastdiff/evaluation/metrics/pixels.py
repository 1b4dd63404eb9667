"""Downscaled pixels as features: images are compared where no feature network is available."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ...core.files import identity
from ...data.image_grid import to_uint8

VERSION = 1  # version of the step from images to features; part of the fingerprint
MAX_SIDE = 16  # largest side in pixels to which images are averaged
# Examples of the data that samples are compared with, the same ones in every run: distances of all pairs are
# too slow for more.
EXAMPLES = 4000


@dataclass(frozen=True)
class Pixels:
    """The features of images (n, C, H, W) in [-1, 1]: their mean colours in side x side cells.

    They show the layout and the colours of images, and no detail below a cell.

    Args:
        side: number of cells along each axis, at most that of pixels.
        device: device of the features.
    """

    side: int
    device: torch.device
    layers: tuple[str, ...] = ("features",)
    most_examples: int | None = EXAMPLES
    size: int | None = None
    classes: int | None = None

    @classmethod
    def fit(cls, shape: tuple[int, ...], device: torch.device | str) -> "Pixels":
        """Return the features of images (C, H, W): the largest power of two up to MAX_SIDE that fits."""
        side = 1
        while 2 * side <= min(MAX_SIDE, *shape[1:]):
            side *= 2
        return cls(side, torch.device(device))

    @property
    def name(self) -> str:
        """The suffix of the names of metrics: px16."""
        return f"px{self.side}"

    @property
    def fingerprint(self) -> str:
        """The twelve hex digits that identify the step from images to features."""
        return identity(version=VERSION, side=self.side, examples=self.most_examples)[:12]

    def __str__(self) -> str:
        return f"{self.name}@{self.fingerprint}"

    def named(self, family: str) -> str:
        """Return the key of a metric: energy_px16, swd_px16."""
        return f"{family}_{self.name}"

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Return the features (n, C * side * side) in [-1, 1] of images as they would be stored."""
        stored = to_uint8(images.nan_to_num()).to(self.device).float() / 127.5 - 1
        return {"features": adaptive_avg_pool2d(stored, self.side).flatten(1)}
