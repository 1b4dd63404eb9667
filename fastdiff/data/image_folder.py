"""Folders of images: the files of a split, their classes, and the table that a stream reads."""

import glob
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import FastdiffError
from .order import permutation

if TYPE_CHECKING:
    import datasets

SPLIT_NAMES = {"train", "test", "val", "valid", "validation"}
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}


def list_folder(path: str, split: str) -> tuple[Path, list[Path], list[str]]:
    """List the images of a split; see `sources.images`.

    Args:
        path: the folder.
        split: name of the split.

    Returns:
        The split's folder; the paths of its images relative to it, sorted; and the names of the classes, []
        if unlabelled.

    Raises:
        FastdiffError: if there is no such split, or no image.
    """
    root = Path(path).expanduser()
    folders = {folder.name for folder in root.iterdir() if folder.is_dir()} if root.is_dir() else set()
    if split in folders and folders <= SPLIT_NAMES:
        root = root / split
    elif split != "train":
        raise FastdiffError(
            f"{path}: no subfolder {split!r} among its splits; give the path of the folder of images itself"
        )
    files = sorted(Path(file) for file in glob.glob("**/*", root_dir=root, recursive=True))
    files = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise FastdiffError(f"{root}: no images found ({', '.join(sorted(IMAGE_SUFFIXES))})")
    names = sorted({file.parts[0] for file in files}) if all(len(file.parts) == 2 for file in files) else []
    return root, files, names


def stream_folder(path: str, split: str, lanes: int) -> "datasets.IterableDataset":
    """Return the images of a split as a table to stream.

    The images are shuffled first: shards of neighbouring files would hold a single class each.

    Args:
        path: the folder.
        split: name of the split.
        lanes: smallest number of shards; a folder with fewer images has one shard per image.
    """
    import datasets

    root, files, names = list_folder(path, split)
    mixed = [files[i] for i in permutation(len(files), "files").tolist()]
    shards = max(min(len(files), lanes), len(files) // 1024)
    dealt = [[(str(root / file), file.parts[0]) for file in mixed[i::shards]] for i in range(shards)]
    features: dict[str, Any] = {"image": datasets.Image(decode=False)}
    if names:
        features["label"] = datasets.ClassLabel(names=names)
    options = {"dealt": dealt, "names": tuple(names)}
    return datasets.IterableDataset.from_generator(_rows, datasets.Features(features), options)


def _rows(dealt: list[list[tuple[str, str]]], names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for file, parent in chain.from_iterable(dealt):
        row: dict[str, Any] = {"image": {"path": file, "bytes": None}}
        if names:
            row["label"] = names.index(parent)
        yield row
