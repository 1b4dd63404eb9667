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

Marks = dict[str, list[int]]  # by lane; see lane.Lane


class Readable(Protocol):
    """Data that loader and loop read: a Dataset in memory, or a Stream that is read during training."""

    name: str
    classes: int  # 0 when unlabelled
    noise: Tensor | None
    image: Tensor | None
    fingerprint: str
    ahead: int  # global batches that a loader reads ahead

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example: (C, H, W) or (D,)."""
        ...

    @property
    def labels(self) -> Tensor | None:
        """Labels (N,), of a stream those of its reference; None when unlabelled."""
        ...

    @property
    def reference(self) -> "Dataset":
        """The examples that stand for the data when metrics are computed."""
        ...

    @property
    def described(self) -> str:
        """One phrase for the terminal."""
        ...

    def read(self, position: int, size: int, seed: int, rank: int = 0, world: int = 1) -> Rows:
        """Read the host side of one rank's share of a global batch; see `batch_at`."""
        ...

    def marks(self, position: int) -> Marks:
        """Return what lets reading resume at a position sooner than from the beginning."""
        ...

    def seek(self, marks: Marks) -> None:
        """Start anew from marks."""
        ...


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory: images as uint8 (N, C, H, W), or anything else as float32 (N, ...).

    Examples, spread and conditions may be anything with a length that a LongTensor indexes, such as shards on
    disk.
    """

    name: str
    examples: Tensor
    labels: Tensor | None = None  # int64 (N,)
    classes: int = 0  # 0 when unlabelled
    noise: Tensor | None = None  # of stored pairs: what each example was made from, float32 (N, ...)
    captions: tuple[str, ...] | None = None
    image: Tensor | None = None  # what each example is conditioned on, uint8 or float32 (N, C, H, W)
    conditions: dict[str, Tensor] = field(default_factory=dict)  # others by name, (N, ...): embedded captions
    spread: Tensor | None = None  # of latents: the standard deviation of each
    ahead: ClassVar[int] = 0  # everything is in memory

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example: (C, H, W) or (D,)."""
        return tuple(self.examples.shape[1:])

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any byte of the examples or labels."""
        digest = hashlib.sha256(repr(tuple(self.examples.shape)).encode())
        for part in (self.examples, self.labels, self.noise, self.image):
            if part is not None:
                digest.update(part.contiguous().numpy())
        if self.captions:
            digest.update(json.dumps(self.captions).encode())
        return digest.hexdigest()[:16]

    @property
    def reference(self) -> "Dataset":
        """The data set itself, which stands whole for the data when metrics are computed."""
        return self

    @property
    def described(self) -> str:
        """One phrase for the terminal."""
        return f"{len(self):,} examples of {self.name}"

    def get(self, indices: LongTensor) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Return examples as a model takes them, and their condition: {"label": (n,)} or None.

        Args:
            indices: of the examples, (n,).
        """
        cond = None if self.labels is None else {"label": self.labels[indices]}
        return as_floats(self.examples[indices]), cond

    def read(self, position: int, size: int, seed: int, rank: int = 0, world: int = 1) -> Rows:
        """Read the host side of one rank's share of a global batch; see `batch_at`."""
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
        """Return no marks, as any position is read at once."""
        return {}

    def seek(self, marks: Marks) -> None:
        """Do nothing, as any position is read at once."""


class Nothing(Dataset):
    """Data without images, for methods that need none: the examples give their shape, and are NaN."""

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
    """Make one rank's share of the global batch that begins at a position.

    Args:
        dataset: the data.
        position: images seen before the batch.
        size: samples of all ranks together.
        seed: of the order and the noise.
        flip: mirror each image with probability one half.
        device: where the batch is made.
        rank: takes position + rank, position + rank + world, ...
        world: number of ranks.
        guidance: range of the guidance weights of which each sample's condition gets one, for models that
            take one.
    """
    return dataset.read(position, size, seed, rank, world).batch(seed, flip, device, guidance)
