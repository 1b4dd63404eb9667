"""Data sets in memory, the interface that they share with streams, and their batches."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Protocol

import torch
from torch import LongTensor, Tensor
from typing_extensions import override

from .batch import Batch, Rows, as_floats
from .order import order, rank_positions

Marks = dict[str, list[int]]  # number of a lane -> its mark; see lane.Mark


class Readable(Protocol):
    """The interface of data for training: a Dataset in memory, or a Stream that is read during training."""

    name: str
    classes: int  # number of classes; 0 when unlabelled
    names: tuple[str, ...]  # names of the classes; () if unknown or unlabelled
    noise: Tensor | None  # stored pairs only: the noise that each example was generated from
    image: Tensor | None  # conditioning images
    fingerprint: str
    ahead: int  # number of global batches that a loader reads ahead

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example: (C, H, W) or (D,)."""
        ...

    @property
    def labels(self) -> Tensor | None:
        """Labels (N,), for a stream those of its reference examples; None when unlabelled."""
        ...

    @property
    def reference(self) -> "Dataset":
        """The examples that metrics compare samples with."""
        ...

    @property
    def described(self) -> str:
        """A description of the data for the terminal, a phrase."""
        ...

    def read(self, position: int, size: int, seed: int, rank: int = 0, world: int = 1) -> Rows:
        """Return the host side of one rank's rows of a global batch; see `batch_at` for the arguments."""
        ...

    def marks(self, position: int) -> Marks:
        """Return marks to resume reading at a position without rereading everything before it."""
        ...

    def seek(self, marks: Marks) -> None:
        """Restart reading from marks."""
        ...


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory: images as uint8 (N, C, H, W), or anything else as float32 (N, ...).

    Examples, spread and conditions may be any object that has a length and is indexed by a LongTensor, such
    as shards on disk.

    Args:
        name: name of the data, for messages and reports.
        examples: the examples, uint8 images (N, C, H, W) or float32 (N, ...).
        labels: class of each example, int64 (N,); None if unlabelled.
        classes: number of classes; 0 if unlabelled.
        noise: stored pairs only: the noise that each example was generated from, float32 (N, ...).
        captions: a text for each example; None without captions.
        image: conditioning image of each example, uint8 or float32 (N, C, H, W).
        conditions: further conditions by name, (N, ...), such as embedded captions.
        spread: latents only: the standard deviation of each latent, (N, ...); `examples` are the means.
        names: names of the classes, in their order; () if they are unknown, or if unlabelled.
    """

    name: str
    examples: Tensor
    labels: Tensor | None = None
    classes: int = 0
    noise: Tensor | None = None
    captions: tuple[str, ...] | None = None
    image: Tensor | None = None
    conditions: dict[str, Tensor] = field(default_factory=dict)
    spread: Tensor | None = None
    names: tuple[str, ...] = ()
    ahead: ClassVar[int] = 0  # everything is in memory

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example: (C, H, W) or (D,)."""
        return tuple(self.examples.shape[1:])

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that depend on every byte of the examples, labels, noise, images and captions."""
        digest = hashlib.sha256(repr(tuple(self.examples.shape)).encode())
        for part in (self.examples, self.labels, self.noise, self.image):
            if part is not None:
                digest.update(part.contiguous().numpy())
        if self.captions:
            digest.update(json.dumps(self.captions).encode())
        return digest.hexdigest()[:16]

    @property
    def reference(self) -> "Dataset":
        """The data set itself: metrics compare samples with all of its examples."""
        return self

    @property
    def described(self) -> str:
        """A description of the data for the terminal, a phrase."""
        return f"{len(self):,} examples of {self.name}"

    def get(self, indices: LongTensor) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Return examples (n, ...) as a model takes them, and their condition: {"label": (n,)} or None.

        Args:
            indices: indices of the examples, (n,).
        """
        cond = None if self.labels is None else {"label": self.labels[indices]}
        return as_floats(self.examples[indices]), cond

    def read(self, position: int, size: int, seed: int, rank: int = 0, world: int = 1) -> Rows:
        """Return the host side of one rank's rows of a global batch; see `batch_at` for the arguments."""
        positions = rank_positions(position, size, rank, world)
        indices = order(len(self), seed, position, size)[rank::world]

        def rows(column: Tensor | None) -> Tensor | None:
            return None if column is None else column[indices]

        return Rows(
            self.name,
            position,
            positions,
            self.examples[indices],
            rows(self.labels),
            rows(self.noise),
            rows(self.image),
            {name: column[indices] for name, column in self.conditions.items()},
            rows(self.spread),
        )

    def marks(self, position: int) -> Marks:
        """Return no marks: every position can be read directly."""
        return {}

    def seek(self, marks: Marks) -> None:
        """Do nothing: every position can be read directly."""


class Nothing(Dataset):
    """A data set without images, for methods that need none; its examples have a shape, but are NaN."""

    @cached_property
    @override
    def fingerprint(self) -> str:
        return hashlib.sha256(f"nothing {self.shape} {self.classes}".encode()).hexdigest()[:16]

    @property
    @override
    def described(self) -> str:
        return f"no images, of shape {self.shape}"


def batch_at(
    dataset: Readable,
    position: int,
    size: int,
    seed: int,
    flip: bool = False,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world: int = 1,
    guidance: tuple[float, float] | None = None,
) -> Batch:
    """Return one rank's rows of the global batch that begins at a position.

    Args:
        dataset: the data.
        position: number of images seen before the batch.
        size: number of examples in the batch, over all ranks.
        seed: seed of the order of the examples and of the noise.
        flip: mirror each image with probability one half.
        device: device of the batch.
        rank: index of this process; it gets positions position + rank, position + rank + world, ...
        world: number of processes.
        guidance: (low, high), for models that take a guidance weight: each sample's condition gets a weight
            drawn uniformly from this range.

    Raises:
        FastdiffError: if `size` is not a multiple of `world`, or the data cannot give a guidance weight.
    """
    return dataset.read(position, size, seed, rank, world).batch(seed, flip, device, guidance)
