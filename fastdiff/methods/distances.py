"""The distances between two batches of samples, by name."""

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

# At 0 the gradient for two equal samples would be undefined.
Softening = Annotated[float, Field(gt=0)]
# VGG16 halves images four times.
ImageSize = Annotated[int, Field(ge=16)]


def per_sample(error: Tensor) -> Tensor:
    """Average (B, ...) over all but the first axis, in float32 or float64; return (B,)."""
    return (error if error.dtype == torch.float64 else error.float()).flatten(1).mean(1)


def pseudo_huber(error: Tensor, c: float) -> Tensor:
    """Return sqrt(|e|^2 + c^2) - c of each sample's whole vector (Song & Dhariwal 2023, iCT, equation 8).

    Args:
        error: difference of two samples (B, ...).
        c: value of |e| at which the distance changes from quadratic to linear.

    Returns:
        Distances (B,), in float32 or float64.
    """
    square = (error if error.dtype == torch.float64 else error.float()).flatten(1).square().sum(1)
    return (square + c**2).sqrt() - c


@dataclass(frozen=True)
class Distance:
    """Base class of distances between two batches, sample by sample. The fields are the settings.

    Attributes:
        degree: power of the difference with which the distance grows, 1 or 2; a weight of squared errors is
            taken to its power of degree / 2.
    """

    registry: ClassVar[dict[str, type]] = DISTANCES
    degree: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_bounds(self)

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance (B,) between samples a and b (B, ...)."""
        raise NotImplementedError

    def validate(self, shape: tuple[int, ...], device: torch.device) -> None:
        """Fetch the weights that the distance needs, before a training.

        Args:
            shape: shape of one sample.
            device: device on which the distance will be computed.

        Raises:
            FastdiffError: for samples of a shape that the distance does not support.
        """


@dataclass(frozen=True)
class SquaredL2(Distance):
    """The mean squared difference."""

    degree: ClassVar[int] = 2

    @override
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return per_sample((a - b).square())


@dataclass(frozen=True)
class L1(Distance):
    """The mean absolute difference."""

    @override
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return per_sample((a - b).abs())


@dataclass(frozen=True)
class PseudoHuber(Distance):
    """The pseudo-Huber distance sqrt(|a - b|^2 + C^2) - C of whole vectors (Song & Dhariwal 2023).

    Args:
        c: C divided by the square root of the data's dimension D, above 0: C = c sqrt(D).
    """

    c: Softening = 0.00054

    @override
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return pseudo_huber(a - b, self.c * math.sqrt(a[0].numel()))


@dataclass(frozen=True)
class Huber(Distance):
    """The pseudo-Huber distance of single numbers, averaged over a sample, as in LCM (Luo et al. 2023).

    Args:
        c: difference at which the distance changes from quadratic to linear, above 0.
    """

    c: Softening = 0.001

    @override
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        error = (a - b).to(torch.promote_types(a.dtype, torch.float32))
        return per_sample((error.square() + self.c**2).sqrt() - self.c)


@dataclass(frozen=True)
class LPIPS(Distance):
    """The LPIPS distance of images in features of VGG16 (Zhang et al. 2018), with torch-fidelity's weights.

    Grey images are repeated to three channels.

    Args:
        weights: folder with both files of weights; None to search torch's cache, then to download them.
        size: side in pixels to which smaller sides are enlarged bilinearly, at least 16; 224 as in Song et
            al. 2023.
    """

    weights: str | None = None
    size: ImageSize = 224

    degree: ClassVar[int] = 2

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
    """Enlarge the sides of images (B, C, H, W) that are below `size` pixels to `size`, bilinearly."""
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
