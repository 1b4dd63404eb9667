"""Conditions of examples: images derived from the examples, and captions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from typing_extensions import override

from ..core.errors import FastdiffError
from .captions import captions_of
from .dataset import Dataset
from .images import Examples


class Derived:
    """Base class of functions that derive a conditioning image from each example."""

    registry: ClassVar[dict[str, Callable[..., "Derived"]]] = {}

    def __init_subclass__(cls) -> None:
        Derived.registry[cls.__name__.lower()] = cls

    def __call__(self, examples: Tensor) -> Tensor:
        """Return conditioning images, uint8 (N, C', h, w), for examples, uint8 (N, C, H, W)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Low(Derived):
    """The example downscaled by area averaging, for super-resolution (Saharia et al. 2021, SR3).

    Args:
        size: side of the small image in pixels, a divisor of the example's sides.
    """

    size: Annotated[int, Field(ge=1)]

    @override
    def __call__(self, examples: Tensor) -> Tensor:
        if any(side % self.size for side in examples.shape[2:]):
            raise FastdiffError(
                f"image: low, size = {self.size}: expected a divisor of {examples.shape[2]} x "
                f"{examples.shape[3]}",
                key="image",
            )
        return pooled(examples, self.size)


@dataclass(frozen=True)
class Grey(Derived):
    """The example in grey (ITU-R 601 luma), for colourisation."""

    @override
    def __call__(self, examples: Tensor) -> Tensor:
        if examples.shape[1] != 3:
            raise FastdiffError(
                f"image: grey: expected data with 3 channels, got {examples.shape[1]}",
                key="image",
            )
        weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
        return (examples.float() * weights).sum(1, keepdim=True).round().byte()


def pooled(examples: Tensor, size: int) -> Tensor:
    """Average images, uint8 (N, C, H, W), down to size x size pixels."""
    return adaptive_avg_pool2d(examples.float(), size).round().byte()


def with_conditions(
    name: str, read: Examples, image: Derived | None, captions: str | None, other: Tensor | None = None
) -> Dataset:
    """Return examples as a data set, with their conditions.

    Args:
        name: name of the data set.
        read: the examples.
        image: derives a conditioning image from each example.
        captions: template of the captions; see `captions_of`.
        other: conditioning images (N, C, H, W) from a table, in the place of `image`.

    Raises:
        FastdiffError: if both `image` and `other` are given.
    """
    if image and other is not None:
        raise FastdiffError(
            f"data set {name!r}: image and image_column both set the conditioning image; choose one"
        )
    texts = captions_of(captions, len(read.images), read.columns) if captions else None
    made = image(read.images) if image else other
    return Dataset(
        name, read.images, read.labels, len(read.names), captions=texts, image=made, names=read.names
    )
