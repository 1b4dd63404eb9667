"""Data sets in memory, batches in two halves (read on the host, then made on the device), and the order of examples."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Protocol

import torch
from torch import LongTensor, Tensor

from ..core.errors import FastdiffError
from .batch import Batch, Rows, as_floats


class Readable(Protocol):
    """What loader and loop ask of data: a Dataset in memory, or a Stream that is read while it is trained on."""

    name: str
    classes: int  # 0 when unlabelled
    noise: Tensor | None
    image: Tensor | None
    fingerprint: str
    ahead: int  # global batches that a loader reads ahead

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def labels(self) -> Tensor | None: ...
    @property
    def reference(self) -> "Dataset": ...  # what stands for the data when figures are computed
    @property
    def described(self) -> str: ...  # one phrase for the terminal
    def read(self, position: int, size: int, seed: int, rank: int = 0, world: int = 1) -> Rows: ...
    def marks(
        self, position: int
    ) -> dict[str, list[int]]: ...  # what goes on at `position` sooner than from the start
    def seek(self, marks: dict[str, list[int]]) -> None: ...


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory: images as uint8 (N, C, H, W), or anything else as float32 (N, ...).

    examples, spread and what is told may be anything with a length that is indexed by a LongTensor, as shards
    on disk are.
    """

    name: str
    examples: Tensor
    labels: Tensor | None = None  # int64 (N,)
    classes: int = 0  # 0 when unlabelled
    noise: Tensor | None = None  # of stored pairs: what each example was made from, float32 (N, ...)
    captions: tuple[str, ...] | None = None
    image: Tensor | None = None  # what each example is conditioned on, uint8 or float32 (N, C, H, W)
    told: dict[str, Tensor] = field(
        default_factory=dict
    )  # other conditions by name, (N, ...): embedded captions
    spread: Tensor | None = None  # of latents: the standard deviation of each
    ahead = 0

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
        """What stands for the data when figures are computed: all of it."""
        return self

    @property
    def described(self) -> str:
        """One phrase for the terminal."""
        return f"{len(self):,} examples of {self.name}"

    def get(self, indices: LongTensor) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Examples as float32 x0 (images in [-1, 1], vectors as they are) and their condition, {"label": ...} or None."""
        return as_floats(self.examples[indices]), None if self.labels is None else {
            "label": self.labels[indices]
        }

    def read(self, position: int, size: int, seed: int, rank: int = 0, world: int = 1) -> Rows:
        """The host side of batch_at."""
        positions = share(position, size, rank, world)
        indices = order(len(self), seed, position, size)[rank::world]
        labels, eps, image, spread = (
            None if of is None else of[indices] for of in (self.labels, self.noise, self.image, self.spread)
        )
        told = {name: of[indices] for name, of in self.told.items()}
        return Rows(self.name, position, positions, self.examples[indices], labels, eps, image, told, spread)

    def marks(self, position: int) -> dict[str, Any]:
        """Nothing: any position is read at once."""
        return {}

    def seek(self, marks: dict[str, Any]) -> None:
        """Nothing to do: any position is read at once."""


class Nothing(Dataset):
    """Data without images, for methods that need none: the examples say their shape, and are NaN."""

    @cached_property
    def fingerprint(self) -> str:
        """What there is to tell apart."""
        return hashlib.sha256(f"nothing {self.shape} {self.classes}".encode()).hexdigest()[:16]

    @property
    def described(self) -> str:
        """One phrase for the terminal."""
        return f"no images, of shape {self.shape}"


# ---------------------------------------------------------------------------------------------------------------------
# The order of examples, a function of images seen


def permutation(length: int, *key: Any) -> Tensor:
    """A permutation of 0 .. length-1, a function of the key alone."""
    mixed = hashlib.sha256(" ".join(map(str, key)).encode()).digest()
    return torch.randperm(length, generator=torch.Generator().manual_seed(int.from_bytes(mixed[:8])))


_epoch = lru_cache(maxsize=4)(permutation)


def order(length: int, seed: int, start: int, count: int) -> LongTensor:
    """Indices of the examples at positions start .. start+count-1 of the endless stream.

    Epoch e of the stream is a permutation drawn from (seed, e) alone.
    """
    first, last, stop = start // length, (start + count - 1) // length, start + count
    spans = [
        _epoch(length, seed, e)[max(0, start - e * length) : stop - e * length]
        for e in range(first, last + 1)
    ]
    return torch.cat(spans)


def share(position: int, size: int, rank: int, world: int) -> LongTensor:
    """The positions that rank r of w takes of a batch: position + r, position + r + w, ..."""
    if size % world:
        raise FastdiffError(
            f"a batch of {size} cannot be shared by {world} processes; choose a multiple of {world}"
        )
    return torch.arange(position + rank, position + size, world)


def batch_at(
    dataset: Readable, position: int, size: int, seed: int,
    flip: bool = False, device: torch.device | str = "cpu", rank: int = 0, world: int = 1,
    guidance: tuple[float, float] | None = None,
) -> Batch:  # fmt: skip
    """The batch that begins at `position` images seen; rank r of w takes position + r, position + r + w, ...

    size counts the samples of all ranks together; flip mirrors each image with probability one half.
    guidance: the range of weights of which each sample's condition gets one, for models that are told theirs.
    """
    return dataset.read(position, size, seed, rank, world).batch(seed, flip, device, guidance)
