"""What examples are conditioned on, made of the examples themselves or of what a table says of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ..core.errors import FastdiffError
from .dataset import Dataset
from .images import Examples


class Derived:
    """An image that is made of each example: called with uint8 (N, C, H, W), it answers with uint8 (N, C', h, w)."""

    registry: ClassVar[dict[str, Callable[..., "Derived"]]] = {}

    def __init_subclass__(cls) -> None:
        Derived.registry[cls.__name__.lower()] = cls

    def __call__(self, examples: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Low(Derived):
    """Itself at size x size pixels, by area: super-resolution (Saharia et al. 2021, SR3)."""

    size: Annotated[int, Field(ge=1)]

    def __call__(self, examples):
        if any(side % self.size for side in examples.shape[2:]):
            raise FastdiffError(
                f"image: low, size {self.size}: expected a divisor of {examples.shape[2]} x "
                f"{examples.shape[3]}",
                key="image",
            )
        return pooled(examples, self.size)


@dataclass(frozen=True)
class Grey(Derived):
    """Itself without colour, by ITU-R 601: colourisation."""

    def __call__(self, examples):
        if examples.shape[1] != 3:
            raise FastdiffError(
                f"image: grey: expected images of three channels, the data have {examples.shape[1]}",
                key="image",
            )
        return (
            (examples.float() * torch.tensor([0.299, 0.587, 0.114])[:, None, None])
            .sum(1, keepdim=True)
            .round()
            .byte()
        )


def pooled(examples: Tensor, size: int) -> Tensor:
    """Images averaged down to size x size pixels, uint8 as they are."""
    return adaptive_avg_pool2d(examples.float(), size).round().byte()


def captions_of(
    template: str, count: int, columns: Mapping[str, Callable[[], Sequence[Any]]]
) -> tuple[str, ...]:
    """A caption for each of count examples: "a photo of a {class}", in which names of columns stand for what those say."""
    try:
        names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise FastdiffError(f"captions: {template!r}: {error}", key="captions") from None
    if unknown := [name for name in names if name not in columns]:
        raise FastdiffError(
            f"captions: {{{unknown[0]}}} is unknown, choose from {', '.join(columns) or 'none'}",
            key="captions",
        )
    held = {name: columns[name]() for name in names}
    try:
        return tuple(template.format(**{name: held[name][i] for name in names}) for i in range(count))
    except ValueError as error:
        raise FastdiffError(f"captions: {template!r}: {error}", key="captions") from None


def told(
    name: str, read: Examples, image: Derived | None, captions: str | None, other: Tensor | None = None
) -> Dataset:
    """What was read, with what it is conditioned on: an image made of each example, or another, and captions."""
    if image and other is not None:
        raise FastdiffError(
            f"data set {name!r}: image and image_column both say what it is conditioned on: choose one"
        )
    texts = captions_of(captions, len(read.images), read.columns) if captions else None
    made = image(read.images) if image else other
    return Dataset(name, read.images, read.labels, read.classes, captions=texts, image=made)
