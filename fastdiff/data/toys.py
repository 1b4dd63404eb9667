"""The built-in data sets: points in the plane, the digits of scikit-learn, and one without images."""

import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import FastdiffError, at_least_one
from ..core.validation import Seed, Shape
from .conditioning import Derived, pooled, with_conditions
from .dataset import Dataset, Nothing
from .images import Examples

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MAX_EMPTY_EXAMPLES = 4096  # number of examples of `nothing`, unless there are more classes


def digits(size: Literal[2, 4, 8] = 8, image: Derived = None, captions: str | None = None) -> Dataset:
    """The 1,797 handwritten digits of scikit-learn: 8 x 8 pixels, grey, 10 classes.

    Args:
        size: side of the images in pixels, 2, 4 or 8; smaller images are averaged.
        image: derives an image from each example to condition on: `low` (super-resolution); None for no
            conditioning image.
        captions: template of the captions, such as "the digit {class}", where the class is a word from
            "zero" to "nine"; None for no captions.

    Returns:
        A Dataset of uint8 images (1797, 1, size, size), with labels 0 to 9.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()  # 0 .. 16
    pixels = torch.from_numpy(raw.images * 255 / 16).round().to(torch.uint8)[:, None]
    columns = {"class": lambda: [DIGIT_NAMES[label] for label in raw.target]}
    if size != 8:
        pixels = pooled(pixels, size)
    read = Examples(pixels, torch.from_numpy(raw.target).long(), DIGIT_NAMES, columns)
    return with_conditions("digits", read, image, captions)


def toy(kind: str = "mixture", n: Annotated[int, Field(le=10**7)] = 4000, seed: Seed = 0) -> Dataset:
    """Points in the plane, within about [-1, 1]: mixture, moons, spiral or checkerboard.

    Args:
        kind: the distribution: "mixture" (8 Gaussians), "moons", "spiral" or "checkerboard".
        n: number of points, 1 to 10,000,000.
        seed: seed of the points.

    Returns:
        A Dataset of float32 vectors (n, 2), without labels.

    Raises:
        FastdiffError: for an unknown kind.
    """
    if kind not in TOYS:
        raise FastdiffError(f"toy kind = {kind!r}: expected one of {', '.join(TOYS)}")
    at_least_one("n", n)
    return Dataset("toy", TOYS[kind](n, torch.Generator().manual_seed(seed)))


def mixture() -> tuple[Tensor, Tensor, Tensor]:
    """Return the means (8, 2), standard deviations (8,) and weights (8,) of the toy mixture of Gaussians.

    The means lie on a circle of radius 0.8.
    """
    angles = torch.arange(8) * (math.pi / 4)
    weights = torch.arange(1, 9) / 36  # unequal, so that a student that loses the weights is noticed
    means = 0.8 * torch.stack([angles.cos(), angles.sin()], 1)
    return means, torch.full((8,), 0.05), weights


def _mixture(n: int, rng: torch.Generator) -> Tensor:
    means, stds, weights = mixture()
    which = torch.multinomial(weights, n, replacement=True, generator=rng)
    return means[which] + stds[which, None] * torch.randn(n, 2, generator=rng)


def _moons(n: int, rng: torch.Generator) -> Tensor:
    angle = torch.rand(n, generator=rng) * math.pi
    lower = torch.arange(n) % 2 == 1
    x = torch.where(lower, 0.5 - angle.cos(), angle.cos() - 0.5)
    y = torch.where(lower, 0.25 - angle.sin(), angle.sin() - 0.25)
    return torch.stack([x, y], 1) / 1.6 + 0.03 * torch.randn(n, 2, generator=rng)


def _spiral(n: int, rng: torch.Generator) -> Tensor:
    # The square root makes the points even along the arm, whose length grows with its radius.
    radius = torch.rand(n, generator=rng).sqrt()
    angle = 3 * math.pi * radius
    arm = 0.9 * radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return arm + 0.02 * torch.randn(n, 2, generator=rng)


def _checkerboard(n: int, rng: torch.Generator) -> Tensor:
    x, y = torch.rand(2, n, generator=rng)
    column = (4 * x).floor()
    row = 2 * torch.randint(0, 2, (n,), generator=rng) + column % 2
    return torch.stack([2 * x - 1, (row + y) / 2 - 1], 1)


TOYS: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "mixture": _mixture,
    "moons": _moons,
    "spiral": _spiral,
    "checkerboard": _checkerboard,
}


def nothing(shape: Shape, classes: Annotated[int, Field(ge=0, le=10**6)] = 0) -> Nothing:
    """Data without images, for methods that learn only from a teacher: a shape and labels.

    Args:
        shape: shape of one example, (C, H, W) or (D,).
        classes: number of classes, whose labels come in turn; 0 for no labels.

    Returns:
        A Nothing, a Dataset whose examples (N, *shape) are NaN.
    """
    count = max(classes, MAX_EMPTY_EXAMPLES - MAX_EMPTY_EXAMPLES % max(classes, 1))
    labels = torch.arange(count) % classes if classes else None
    return Nothing("nothing", torch.tensor(math.nan).expand(count, *shape), labels, classes)
