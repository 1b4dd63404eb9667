"""Folders of images: the files of a split, their classes, and the table that a stream reads."""

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import FastdiffError
from ..core.files import expanded
from .order import permutation

if TYPE_CHECKING:
    import datasets

# Names of folders, in lower case, that hold a split -> the split's usual name.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "holdout": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "unlabeled": "unlabeled",
    "unlabelled": "unlabeled",
}
IMAGE_SUFFIXES = {
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm",
}  # fmt: skip
SYSTEM_PREFIXES = (".", "_", "@")  # of folders that programs leave among images: .cache, __MACOSX, @eaDir
SYSTEM_FOLDERS = ("lost+found", "System Volume Information", "$RECYCLE.BIN", "#recycle", "#snapshot")


def walk(root: Path) -> Iterator[Path]:
    """Yield the files below a folder, relative to it, in no order; links to folders are followed.

    Hidden files, hidden folders and folders of the system, such as .cache, __MACOSX and @eaDir, are left out,
    and a link to a folder that contains it.

    Args:
        root: the folder.

    Raises:
        FastdiffError: for a folder that cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise FastdiffError(
            f"{error.filename}: cannot be read ({error.strerror}); change its permissions, or move it away"
        )

    parents = {str(root): (root.resolve(),)}  # a folder -> itself and the folders around it, without links
    for place, folders, files in os.walk(root, followlinks=True, onerror=refuse):
        around = parents.pop(place)
        visible = {}
        for name in folders:
            if name.startswith(SYSTEM_PREFIXES) or name in SYSTEM_FOLDERS:
                continue
            target = Path(place, name).resolve()
            if target not in around:
                visible[name] = (*around, target)
        folders[:] = visible
        parents |= {os.path.join(place, name): places for name, places in visible.items()}
        relative = Path(place).relative_to(root)
        for name in files:
            if not name.startswith("."):
                yield relative / name


def list_folder(path: str, split: str | None) -> tuple[Path, list[Path], list[str]]:
    """List the images of a split; see `sources.images`.

    Args:
        path: the folder.
        split: name of the split; None if no folder is one.

    Returns:
        The split's folder; the paths of its images relative to it, sorted; and the names of the classes, []
        if unlabelled.

    Raises:
        FastdiffError: if there is no such split, if it is unclear which folders are splits, or if there is no
            image.
    """
    root = expanded(path)
    present = sorted(walk(root)) if root.is_dir() else []
    files = [file for file in present if file.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        others = sorted({file.suffix.lower() for file in present} - {""})
        found = f"; it has {', '.join(others[:8])}" if others else ""
        raise FastdiffError(f"{root}: no images found ({', '.join(sorted(IMAGE_SUFFIXES))}){found}")
    if split is not None:
        folder = split_folder(path, split, {file.parts[0] for file in files if len(file.parts) > 1})
        if folder:
            root = root / folder
            files = [file.relative_to(folder) for file in files if file.parts[0] == folder]
        check_depth(path, files)
    names = classes_of(files)
    return root, files, names


def split_folder(path: str, split: str, folders: set[str]) -> str | None:
    """Return the folder that holds a split, or None if the folders are no splits.

    Args:
        path: the folder above, for errors.
        split: name of the split.
        folders: names of the folders that hold images.

    Raises:
        FastdiffError: if there is no such split, or if some folders are named like splits and others not.
    """
    splits = {name for name in folders if name.lower() in SPLIT_NAMES}
    others = sorted(folders - splits)
    if splits and not others:
        found = [split] if split in splits else [name for name in splits if name.lower() == split.lower()]
        usual = SPLIT_NAMES.get(split.lower(), split)
        found = found or [name for name in splits if SPLIT_NAMES[name.lower()] == usual]
        if len(found) == 1:
            return found[0]
        listed = ", ".join(sorted(splits))
        raise FastdiffError(f"{path}: split = {split!r}: expected one of its folders {listed}")
    if split != "train":
        raise FastdiffError(
            f"{path}: no subfolder {split!r} among its splits; give the path of the folder of images itself"
        )
    if splits:
        raise FastdiffError(
            f"{path}: the folder {min(splits)} is named like a split, and {others[0]} is not; give the path "
            f"of one of them, or `split: null` to read all folders as classes"
        )
    return None


def check_depth(path: str, files: list[Path]) -> None:
    """Raise FastdiffError if folders further down are splits, whose images would be mixed.

    Args:
        path: the folder, for errors.
        files: paths of its images relative to it.
    """
    found: dict[int, dict[str, str]] = {}  # depth -> usual name of a split -> a folder of that name
    for file in files:
        for depth, name in enumerate(file.parts[1:-1]):
            if name.lower() in SPLIT_NAMES:
                found.setdefault(depth, {}).setdefault(SPLIT_NAMES[name.lower()], name)
    for named in found.values():
        if len(named) > 1:
            first, second = sorted(named.values())[:2]
            raise FastdiffError(
                f"{path}: splits lie deeper, in folders {first} and {second}; give the path of one of them, "
                "or `split: null` to read all images"
            )


def classes_of(files: list[Path]) -> list[str]:
    """Return the names of the classes, sorted, numbers by their value; [] if not all images lie in classes.

    Args:
        files: paths of the images relative to their folder.
    """
    if not all(len(file.parts) == 2 for file in files):
        return []
    names = sorted({file.parts[0] for file in files})
    numbers = {int(name) for name in names if name.isascii() and name.isdecimal()}
    return sorted(names, key=int) if len(numbers) == len(names) else names


def stream_folder(path: str, split: str | None, lanes: int) -> "datasets.IterableDataset":
    """Return the images of a split as a table to stream.

    The images are shuffled first: shards of neighbouring files would hold a single class each.

    Args:
        path: the folder.
        split: name of the split; None if no folder is one.
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
