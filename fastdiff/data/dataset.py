"""Data sets in memory, batches in two halves (read on the host, then made on the device), and the order of examples."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from typing import Any, Protocol

import torch
from torch import LongTensor, Tensor

from ..core.errors import FastdiffError
from ..core.rng import SampleRng

SHARED, FLIP, DRAWN = 0x5EED, 0xF119, 0xD8A3  # the streams of noise beside the batch's own


@dataclass
class Batch:
    """What a method learns from: examples, their condition, and noise that is a function of their positions."""

    x0: Tensor
    cond: dict[str, Tensor] | None
    rng: SampleRng  # one stream a sample
    shared: SampleRng  # one stream for the whole batch, alike on every process
    eps: Tensor | None = None  # of stored pairs: the noise that x0 was made from


@dataclass(frozen=True)
class Rows:
    """The host side of a batch, or of a share of one: examples as they are stored, and their positions.

    image: of conditions, uint8 or float32, mirrored with the examples. told: conditions that are not. spread: of latents,
    whose x0 is drawn from a normal distribution: its standard deviation.
    """

    name: str  # of the data
    start: int  # where the whole batch begins, in images seen
    positions: LongTensor  # (n,)
    x0: Tensor  # (n, ...) uint8 or float32
    labels: Tensor | None
    eps: Tensor | None = None
    image: Tensor | None = None
    told: dict[str, Tensor] = field(default_factory=dict)
    spread: Tensor | None = None

    def part(self, number: int, parts: int) -> "Rows":
        """Rows number, number + parts, ...: what batch_at gives to one of so many times more processes."""
        return self._with(lambda tensor: tensor[number::parts].contiguous())

    def pinned(self) -> "Rows":
        """A copy in page-locked memory, which a CUDA device fetches while the host goes on."""
        return self._with(Tensor.pin_memory)

    def batch(
        self, seed: int, flip: bool = False, device: torch.device | str = "cpu",
        guidance: tuple[float, float] | None = None,
    ) -> Batch:  # fmt: skip
        """The batch on a device; see batch_at."""
        here = self._with(lambda tensor: tensor.to(device, non_blocking=torch.device(device).type == "cuda"))
        x0, eps, image, positions = as_floats(here.x0), here.eps, here.image, here.positions
        image = image if image is None else as_floats(image)
        if flip and x0.ndim == 4:
            mirrored = SampleRng(seed ^ FLIP, positions, device).uniform()[:, None, None, None] < 0.5
            x0, eps, image = (x if x is None else torch.where(mirrored, x.flip(-1), x) for x in (x0, eps, image))
        cond = {"label": here.labels, "image": image, **here.told}
        cond = {name: value for name, value in cond.items() if value is not None} or None
        rng = SampleRng(seed, positions, device)
        if here.spread is not None:
            x0 = x0.float() + here.spread.float() * SampleRng(seed ^ DRAWN, positions, device).normal(x0.shape[1:]).float()
        shared = SampleRng(seed ^ SHARED, torch.full((1,), self.start, device=device), device)
        if guidance:
            if cond is None or eps is not None:
                lack = "have no labels or captions" if cond is None else "were made at a single one"
                raise FastdiffError(f"this student is told a weight of guidance, and the data {self.name} {lack}")
            low, high = guidance
            cond |= {"guidance": (low + (high - low) * rng.uniform()).float()}
        return Batch(x0, cond, rng, shared, eps)

    def _with(self, change: Callable[[Tensor], Tensor]) -> "Rows":
        tensors = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(self, **{name: change(x) for name, x in tensors.items() if isinstance(x, Tensor)},
                       told={name: change(x) for name, x in self.told.items()})


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
    def marks(self, position: int) -> dict[str, list[int]]: ...  # what goes on at `position` sooner than from the start
    def seek(self, marks: dict[str, list[int]]) -> None: ...


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory: images as uint8 (N, C, H, W), or anything else as float32 (N, ...).

    examples, spread and what is told may be anything with a length that is indexed by a LongTensor, as shards on disk are.
    """

    name: str
    examples: Tensor
    labels: Tensor | None = None  # int64 (N,)
    classes: int = 0  # 0 when unlabelled
    noise: Tensor | None = None  # of stored pairs: what each example was made from, float32 (N, ...)
    captions: tuple[str, ...] | None = None
    image: Tensor | None = None  # what each example is conditioned on, uint8 or float32 (N, C, H, W)
    told: dict[str, Tensor] = field(default_factory=dict)  # other conditions by name, (N, ...): embedded captions
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
        return as_floats(self.examples[indices]), None if self.labels is None else {"label": self.labels[indices]}

    def read(self, position: int, size: int, seed: int, rank: int = 0, world: int = 1) -> Rows:
        """The host side of batch_at."""
        positions = share(position, size, rank, world)
        indices = order(len(self), seed, position, size)[rank::world]
        labels, eps, image, spread = (None if of is None else of[indices]
                                      for of in (self.labels, self.noise, self.image, self.spread))
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


def as_floats(x0: Tensor) -> Tensor:
    """Examples as they are stored, as a model takes them: images in [-1, 1], vectors as they are."""
    return x0.float() / 127.5 - 1 if x0.dtype == torch.uint8 else x0


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
    spans = [_epoch(length, seed, e)[max(0, start - e * length) : stop - e * length] for e in range(first, last + 1)]
    return torch.cat(spans)


def share(position: int, size: int, rank: int, world: int) -> LongTensor:
    """The positions that rank r of w takes of a batch: position + r, position + r + w, ..."""
    if size % world:
        raise FastdiffError(f"a batch of {size} cannot be shared by {world} processes; choose a multiple of {world}")
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
