"""Distances between two batches of samples, by name."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from ..core.errors import FastdiffError
from ..core.validation import check_bounds
from ..networks.lpips import open_lpips

DISTANCES: dict[str, type] = {}

# At 0 two equal samples would have no gradient.
Softening = Annotated[float, Field(gt=0)]
# VGG16 halves images four times.
ImageSize = Annotated[int, Field(ge=16)]


def per_sample(error: Tensor) -> Tensor:
    """Average over all but the first axis, in float32 at least: (B, ...) -> (B,)."""
    return (error if error.dtype == torch.float64 else error.float()).flatten(1).mean(1)


def pseudo_huber(error: Tensor, c: float) -> Tensor:
    """Return sqrt(|e|^2 + c^2) - c of each sample's whole vector (Song & Dhariwal 2023, iCT, equation 8).

    Args:
        error: (B, ...).
        c: where the distance changes from quadratic to linear, in units of |e|.

    Returns:
        (B,), in float32 at least.
    """
    square = (error if error.dtype == torch.float64 else error.float()).flatten(1).square().sum(1)
    return (square + c**2).sqrt() - c


@dataclass(frozen=True)
class Distance:
    """A distance between two batches, for each sample: (B, ...) twice -> (B,). Its fields are settings."""

    registry: ClassVar[dict[str, type]] = DISTANCES

    def __post_init__(self) -> None:
        check_bounds(self)

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance (B,) between samples a and b (B, ...)."""
        raise NotImplementedError

    def validate(self, shape: tuple[int, ...], device: torch.device) -> None:
        """Fetch what the distance needs, before a training.

        Args:
            shape: of one sample.
            device: where the distance will be computed.

        Raises:
            FastdiffError: for samples of a shape that the distance is not for.
        """


@dataclass(frozen=True)
class SquaredL2(Distance):
    """Mean squared difference."""

    @override
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return per_sample((a - b).square())


@dataclass(frozen=True)
class L1(Distance):
    """Mean absolute difference."""

    @override
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return per_sample((a - b).abs())


@dataclass(frozen=True)
class PseudoHuber(Distance):
    """Pseudo-Huber distance of whole vectors.

    Args:
        c: where it changes from quadratic to linear, in units of the root of the data's dimension.
    """

    c: Softening = 0.00054

    @override
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return pseudo_huber(a - b, self.c * math.sqrt(a[0].numel()))


@dataclass(frozen=True)
class Huber(Distance):
    """Pseudo-Huber distance of each number, averaged over a sample: LCM's (Luo et al. 2023).

    Args:
        c: where it changes from quadratic to linear.
    """

    c: Softening = 0.001

    @override
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        error = (a - b).to(torch.promote_types(a.dtype, torch.float32))
        return per_sample((error.square() + self.c**2).sqrt() - self.c)


@dataclass(frozen=True)
class LPIPS(Distance):
    """Distance of images in the features of VGG16 (Zhang et al. 2018), with torch-fidelity's weights.

    Grey images are repeated to three channels.

    Args:
        weights: a folder with both files of weights. If not given, torch's cache is searched, then they are
            downloaded.
        size: side in pixels to which smaller sides are enlarged bilinearly, as in Song et al. 2023.
    """

    weights: str | None = None
    size: ImageSize = 224

    @override
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        require_images(a.shape[1:])
        dtype = torch.promote_types(a.dtype, torch.float32)
        with torch.autocast(a.device.type, enabled=False):
            lpips = open_lpips(self.weights, a.device, dtype)
            return lpips(enlarge(a.to(dtype), self.size), enlarge(b.to(dtype), self.size))

    @override
    def validate(self, shape: tuple[int, ...], device: torch.device) -> None:
        require_images(shape)
        open_lpips(self.weights, device, torch.float32)


def enlarge(images: Tensor, size: int) -> Tensor:
    """Enlarge the sides of images (B, C, H, W) that are below `size` pixels to it, bilinearly."""
    sides = [max(side, size) for side in images.shape[2:]]
    if sides == list(images.shape[2:]):
        return images
    return nn.functional.interpolate(images, sides, mode="bilinear")


def require_images(shape: tuple[int, ...]) -> None:
    """Raise FastdiffError if samples of this shape are not images of 1 or 3 channels."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise FastdiffError(
            f"distance lpips is for images of 1 or 3 channels, the samples have shape {tuple(shape)}: "
            "choose pseudo_huber, squared_l2 or l1"
        )


DISTANCES |= {"squared_l2": SquaredL2, "l1": L1, "pseudo_huber": PseudoHuber, "huber": Huber, "lpips": LPIPS}
