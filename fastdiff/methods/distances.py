"""Distances of two batches of samples, by name."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..core.errors import FastdiffError
from ..networks.lpips import open_lpips


def per_sample(error: Tensor) -> Tensor:
    """Mean over all but the first axis, in float32 at least: (B, ...) -> (B,)."""
    return (error if error.dtype == torch.float64 else error.float()).flatten(1).mean(1)


def pseudo_huber(error: Tensor, c: float) -> Tensor:
    """sqrt(|e|^2 + c^2) - c over the whole vector of each sample (Song & Dhariwal 2023, iCT, equation 8)."""
    square = (error if error.dtype == torch.float64 else error.float()).flatten(1).square().sum(1)
    return (square + c**2).sqrt() - c


DISTANCES: dict[str, type] = {}


@dataclass(frozen=True)
class Distance:
    """How far two batches are apart, sample by sample: (B, ...) twice -> (B,)."""

    registry: ClassVar[dict[str, type]] = DISTANCES

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        raise NotImplementedError

    def ready(self, shape: tuple[int, ...], device: torch.device) -> None:
        """Refuse samples of a shape that it is not for, and fetch what it needs."""


@dataclass(frozen=True)
class SquaredL2(Distance):
    """Mean squared difference."""

    def __call__(self, a, b):
        return per_sample((a - b).square())


@dataclass(frozen=True)
class L1(Distance):
    """Mean absolute difference."""

    def __call__(self, a, b):
        return per_sample((a - b).abs())


@dataclass(frozen=True)
class PseudoHuber(Distance):
    """Pseudo-Huber distance of whole vectors; c in units of the root of the data's dimension."""

    c: float = 0.00054

    def __post_init__(self) -> None:
        if not self.c > 0:
            raise FastdiffError(
                f"distance: c = {self.c}, expected above 0: at 0 two equal samples have no gradient",
                key="distance",
            )

    def __call__(self, a, b):
        return pseudo_huber(a - b, self.c * math.sqrt(a[0].numel()))


@dataclass(frozen=True)
class Huber(Distance):
    """Pseudo-Huber distance of each number by itself, averaged: LCM's (Luo et al. 2023)."""

    c: float = 0.001

    def __post_init__(self) -> None:
        if not self.c > 0:
            raise FastdiffError(
                f"distance: c = {self.c}, expected above 0: at 0 two equal samples have no gradient",
                key="distance",
            )

    def __call__(self, a, b):
        error = (a - b).to(torch.promote_types(a.dtype, torch.float32))
        return per_sample((error.square() + self.c**2).sqrt() - self.c)


@dataclass(frozen=True)
class LPIPS(Distance):
    """Distance of images in the features of VGG16 (Zhang et al. 2018, torch-fidelity's weights); sees what Inception sees.

    Grey is repeated to three channels, sides below `size` are enlarged to it bilinearly (Song et al. 2023 have 224).
    weights: a folder with both files; else they are looked for in torch's cache, then fetched.
    """

    weights: str | None = None
    size: int = 224

    def __post_init__(self) -> None:
        if self.size < 16:
            raise FastdiffError(
                f"distance: size = {self.size}, expected at least 16, which VGG16 halves four times",
                key="distance",
            )

    def __call__(self, a, b):
        self.refuse_but_images(a.shape[1:])
        dtype = torch.promote_types(a.dtype, torch.float32)
        with torch.autocast(a.device.type, enabled=False):
            return open_lpips(self.weights, a.device, dtype)(*(self.enlarged(x.to(dtype)) for x in (a, b)))

    def enlarged(self, x: Tensor) -> Tensor:
        sides = [max(side, self.size) for side in x.shape[2:]]
        return x if sides == list(x.shape[2:]) else nn.functional.interpolate(x, sides, mode="bilinear")

    def ready(self, shape, device):
        self.refuse_but_images(shape)
        open_lpips(self.weights, device, torch.float32)

    def refuse_but_images(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise FastdiffError(
                f"distance lpips is for images of 1 or 3 channels, the samples have shape {tuple(shape)}: "
                "choose pseudo_huber, squared_l2 or l1"
            )


DISTANCES |= {"squared_l2": SquaredL2, "l1": L1, "pseudo_huber": PseudoHuber, "huber": Huber, "lpips": LPIPS}
