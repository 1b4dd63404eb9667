"""Data sets by name or path, held in memory, and the order of their examples as a function of images seen."""

import glob
import hashlib
import inspect
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import LongTensor, Tensor

from fastdiff.errors import FastdiffError
from fastdiff.images import SUFFIXES, Colour, at_least_one, first_line, open_table, read_folder, read_table
from fastdiff.rng import SampleRng
from fastdiff.settings import Seed

SHARED, FLIP = 0x5EED, 0xF119  # the streams of noise beside the batch's own


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory: images as uint8 (N, C, H, W), or vectors as float32 (N, D)."""

    name: str
    examples: Tensor
    labels: Tensor | None = None  # int64 (N,)
    classes: int = 0  # 0 when unlabelled
    noise: Tensor | None = None  # of stored pairs: what each example was made from, float32 (N, ...)

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
        for part in (self.examples, self.labels, self.noise):
            if part is not None:
                digest.update(part.contiguous().numpy())
        return digest.hexdigest()[:16]

    def get(self, indices: LongTensor) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Examples as float32 x0 (images in [-1, 1], vectors as they are) and their condition, {"label": ...} or None."""
        x0 = self.examples[indices]
        if x0.dtype == torch.uint8:
            x0 = x0.float() / 127.5 - 1
        return x0, None if self.labels is None else {"label": self.labels[indices]}


# ---------------------------------------------------------------------------------------------------------------------
# Embedded sets


def digits() -> Dataset:
    """The 1,797 handwritten digits of scikit-learn: 8 x 8, grey, 10 classes."""
    from sklearn.datasets import load_digits

    raw = load_digits()  # 0 .. 16
    images = torch.from_numpy(raw.images * 255 / 16).round().to(torch.uint8)[:, None]
    return Dataset("digits", images, torch.from_numpy(raw.target).long(), 10)


def toy(kind: str = "mixture", n: Annotated[int, Field(le=10**7)] = 4000, seed: Seed = 0) -> Dataset:
    """Points in the plane, within about [-1, 1]: mixture, moons, spiral or checkerboard."""
    if kind not in TOYS:
        raise FastdiffError(f"toy kind {kind!r} is unknown; choose one of {', '.join(TOYS)}")
    return Dataset("toy", TOYS[kind](at_least_one("n", n), torch.Generator().manual_seed(seed)))


def mixture() -> tuple[Tensor, Tensor, Tensor]:
    """Means (8, 2), standard deviations (8,) and weights (8,) of the toy mixture: Gaussians on a circle of radius 0.8."""
    angles = torch.arange(8) * (math.pi / 4)
    weights = torch.arange(1, 9) / 36  # unequal, so that a student which forgets the weights shows it
    return 0.8 * torch.stack([angles.cos(), angles.sin()], 1), torch.full((8,), 0.05), weights


def _mixture(n: int, rng: torch.Generator) -> Tensor:
    means, stds, weights = mixture()
    which = torch.multinomial(weights, n, replacement=True, generator=rng)
    return means[which] + stds[which, None] * torch.randn(n, 2, generator=rng)


def _moons(n: int, rng: torch.Generator) -> Tensor:
    angle, lower = torch.rand(n, generator=rng) * math.pi, torch.arange(n) % 2 == 1
    x = torch.where(lower, 0.5 - angle.cos(), angle.cos() - 0.5)
    y = torch.where(lower, 0.25 - angle.sin(), angle.sin() - 0.25)
    return torch.stack([x, y], 1) / 1.6 + 0.03 * torch.randn(n, 2, generator=rng)


def _spiral(n: int, rng: torch.Generator) -> Tensor:
    radius = torch.rand(n, generator=rng).sqrt()  # sqrt: even along the arm, whose length grows with its radius
    angle = 3 * math.pi * radius
    arm = 0.9 * radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return arm + 0.02 * torch.randn(n, 2, generator=rng)


def _checkerboard(n: int, rng: torch.Generator) -> Tensor:
    x, y = torch.rand(2, n, generator=rng)
    column = (4 * x).floor()
    row = 2 * torch.randint(0, 2, (n,), generator=rng) + column % 2
    return torch.stack([2 * x - 1, (row + y) / 2 - 1], 1)


TOYS: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "mixture": _mixture, "moons": _moons, "spiral": _spiral, "checkerboard": _checkerboard,
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Images from files


def images(
    path: str, split: str = "train", resolution: int | None = None, colour: Colour = "rgb", limit: int | None = None
) -> Dataset:
    """A folder of images; when all of them lie in direct subfolders, these are the classes, in sorted order.

    A folder whose subfolders are all splits (train, test, ...) is entered at `split`. Hidden files are passed over.
    limit keeps the first so many, in order of their paths.
    """
    return Dataset(path, *read_folder(path, split, resolution, colour, limit))


def parquet(
    path: str, split: str = "train", resolution: int | None = None, colour: Colour = "rgb",
    column: str | None = None, label_column: str | None = None, limit: int | None = None,
) -> Dataset:  # fmt: skip
    """A parquet file, a glob pattern of them, or a folder of them (split by file name, as on the hub)."""
    where = os.path.expanduser(path)
    if os.path.isdir(where):
        rows = open_table(path, "parquet", data_dir=where, split=split)
    else:
        rows = open_table(path, "parquet", data_files=where, split=split)
    return Dataset(path, *read_table(path, rows, resolution, colour, column, label_column, limit))


def hub(
    path: str, split: str = "train", resolution: int | None = None, colour: Colour = "rgb",
    column: str | None = None, label_column: str | None = None, limit: int | None = None,
) -> Dataset:  # fmt: skip
    """A data set of images on the Hugging Face hub; offline (HF_HUB_OFFLINE=1) a copy already downloaded."""
    import huggingface_hub

    if not huggingface_hub.constants.HF_HUB_OFFLINE:
        try:  # one quick question: load_dataset by itself goes on asking for half a minute
            huggingface_hub.HfApi().dataset_info(path, timeout=10)
        except Exception as error:
            raise FastdiffError(
                f"data set {path!r} is no known name ({', '.join(DATASETS)}), no local path, and not to be had from the "
                f"hub: {first_line(error)} (HF_HUB_OFFLINE=1 uses a copy downloaded before)"
            ) from error
    rows = open_table(path, path, split=split)
    return Dataset(path, *read_table(path, rows, resolution, colour, column, label_column, limit))


# ---------------------------------------------------------------------------------------------------------------------
# One name for all of them

DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": digits, "toy": toy, "images": images, "parquet": parquet, "hub": hub,
}  # fmt: skip


def open_dataset(name: str, **options: Any) -> Dataset:
    """The data set called `name`: a key of DATASETS, else a folder of images, parquet files, or a hub id."""
    loader = DATASETS.get(name) or _loader(name)
    arguments = options if name in DATASETS else {"path": name, **options}
    signature = inspect.signature(loader)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        known = ", ".join(signature.parameters) or "none"
        raise FastdiffError(f"data set {name!r}: {error}; its options: {known}") from None
    return loader(**arguments)


def _loader(name: str) -> Callable[..., Dataset]:
    """What reads this path or hub id, found by looking."""
    path = Path(name).expanduser()
    if path.is_dir():
        return parquet if glob.glob("**/*.parquet", root_dir=path, recursive=True) else images
    matches = [str(path)] if path.is_file() else glob.glob(str(path), recursive=True)
    if matches and all(match.endswith(".parquet") for match in matches):
        return parquet
    if matches:
        raise FastdiffError(f"{name}: expected a folder of images or parquet files")
    if name.startswith((".", "/", "~")) or path.suffix.lower() in SUFFIXES | {".parquet"} or name.count("/") > 1:
        raise FastdiffError(f"{name}: no such file or folder")
    return hub


# ---------------------------------------------------------------------------------------------------------------------
# The order of examples, a function of images seen


@lru_cache(maxsize=4)
def _permutation(length: int, seed: int, epoch: int) -> Tensor:
    mixed = hashlib.sha256(f"{seed} {epoch}".encode()).digest()
    return torch.randperm(length, generator=torch.Generator().manual_seed(int.from_bytes(mixed[:8])))


def order(length: int, seed: int, start: int, count: int) -> LongTensor:
    """Indices of the examples at positions start .. start+count-1 of the endless stream.

    Epoch e of the stream is a permutation drawn from (seed, e) alone.
    """
    first, last = start // length, (start + count - 1) // length
    stream = torch.cat([_permutation(length, seed, epoch) for epoch in range(first, last + 1)])
    return stream[start - first * length :][:count]


@dataclass
class Batch:
    """What a method learns from: examples, their condition, and noise that is a function of their positions."""

    x0: Tensor
    cond: dict[str, Tensor] | None
    rng: SampleRng  # one stream a sample
    shared: SampleRng  # one stream for the whole batch, alike on every process
    eps: Tensor | None = None  # of stored pairs: the noise that x0 was made from


def batch_at(
    dataset: Dataset, position: int, size: int, seed: int,
    flip: bool = False, device: torch.device | str = "cpu", rank: int = 0, world: int = 1,
    guidance: tuple[float, float] | None = None,
) -> Batch:  # fmt: skip
    """The batch that begins at `position` images seen; rank r of w takes position + r, position + r + w, ...

    size counts the samples of all ranks together; flip mirrors each image with probability one half.
    guidance: the range of weights of which each sample's condition gets one, for models that are told theirs.
    """
    if size % world:
        raise FastdiffError(f"a batch of {size} cannot be shared by {world} processes; choose a multiple of {world}")
    positions = torch.arange(position + rank, position + size, world)
    indices = order(len(dataset), seed, position, size)[rank::world]
    x0, cond = dataset.get(indices)
    x0, cond = x0.to(device), cond and {key: value.to(device) for key, value in cond.items()}
    eps = None if dataset.noise is None else dataset.noise[indices].to(device)
    if flip and x0.ndim == 4:
        mirrored = SampleRng(seed ^ FLIP, positions, device).uniform() < 0.5
        x0, eps = (x if x is None else torch.where(mirrored[:, None, None, None], x.flip(-1), x) for x in (x0, eps))
    rng, shared = SampleRng(seed, positions, device), SampleRng(seed ^ SHARED, torch.tensor([position]), device)
    if guidance:
        if cond is None or eps is not None:
            lack = "have no labels" if cond is None else "were made at a single one"
            raise FastdiffError(f"this student is told a weight of guidance, and the data {dataset.name} {lack}")
        low, high = guidance
        cond |= {"guidance": (low + (high - low) * rng.uniform()).float()}
    return Batch(x0, cond, rng, shared, eps)
