"""Data sets by name or path: held in memory, or streams that are read while they are trained on."""

import glob
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.errors import FastdiffError, first_line
from .batch import Batch
from .conditioning import Derived, told
from .dataset import Dataset, Nothing, Readable, batch_at, order
from .images import SUFFIXES, Colour, open_table, read_folder, read_table
from .stream import Stream, stream_folder
from .toys import TOYS, digits, mixture, nothing, toy

__all__ = [
    "DATASETS", "TOYS", "Batch", "Dataset", "Nothing", "Readable", "batch_at", "digits", "hub", "images", "mixture",
    "nothing", "open_dataset", "order", "parquet", "stream", "toy",
]  # fmt: skip

# ---------------------------------------------------------------------------------------------------------------------
# Embedded sets


# ---------------------------------------------------------------------------------------------------------------------
# Images from files


def images(
    path: str, split: str = "train", resolution: int | None = None, colour: Colour = "rgb", limit: int | None = None,
    image: Derived = None, captions: str | None = None,
) -> Dataset:  # fmt: skip
    """A folder of images; when all of them lie in direct subfolders, these are the classes, in sorted order.

    A folder whose subfolders are all splits (train, test, ...) is entered at `split`. Hidden files are passed
    over. limit keeps the first so many, in order of their paths.
    """
    return told(path, read_folder(path, split, resolution, colour, limit), image, captions)


def parquet(
    path: str, split: str = "train", resolution: int | None = None, colour: Colour = "rgb",
    column: str | None = None, label_column: str | None = None, limit: int | None = None,
    image: Derived = None, image_column: str | None = None, captions: str | None = None,
) -> Dataset:  # fmt: skip
    """A parquet file, a glob pattern of them, or a folder of them (split by file name, as on the hub).

    image: what is made of each example to condition it on (super-resolution, colourisation); image_column: a
    column that holds it (segmentation). captions: "a photo of a {class}", or "{text}" for what a column says.
    """
    rows = open_table(path, "parquet", **_files_at(path), split=split)
    return table(path, rows, resolution, colour, column, label_column, limit, image, image_column, captions)


def table(
    path: str, rows: Any, resolution: int | None, colour: Colour, column: str | None, label_column: str | None,
    limit: int | None, image: Derived | None, image_column: str | None, captions: str | None,
) -> Dataset:  # fmt: skip
    """A table's examples, with what they are conditioned on."""
    read = read_table(path, rows, resolution, colour, column, label_column, limit)
    other = (
        read_table(path, rows, resolution, colour, image_column, None, limit).images if image_column else None
    )
    return told(path, read, image, captions, other)


def hub(
    path: str, split: str = "train", resolution: int | None = None, colour: Colour = "rgb",
    column: str | None = None, label_column: str | None = None, limit: int | None = None, revision: str | None = None,
    image: Derived = None, image_column: str | None = None, captions: str | None = None,
) -> Dataset:  # fmt: skip
    """A data set of images on the Hugging Face hub; offline (HF_HUB_OFFLINE=1) a copy already downloaded.

    revision: a branch, tag or commit; a run keeps to the commit that it began with. The others are as in
    parquet.
    """
    from huggingface_hub import constants

    rows = open_table(path, _on_hub(path, revision), split=split, revision=revision)
    if (
        constants.HF_HUB_OFFLINE
        and revision
        and not all(revision in file["filename"] for file in rows.cache_files)
    ):
        raise FastdiffError(f"data set {path!r}: the copy already downloaded is not of revision {revision}")
    return table(path, rows, resolution, colour, column, label_column, limit, image, image_column, captions)


def stream(
    path: str, resolution: int, split: str = "train", colour: Colour = "rgb", column: str | None = None,
    label_column: str | None = None, classes: int = 0, buffer: int = 4096, reference: int = 10_000,
    revision: str | None = None,
) -> Stream:  # fmt: skip
    """Tar shards (WebDataset), parquet files or a folder of images, by path or pattern, or a hub id: read while trained on.

    Examples are shuffled within `buffer` of them; the first `reference` are kept in memory for figures.
    classes: where the data do not tell how many there are.
    """
    kind = _kind(path)
    if kind == "images":
        base = stream_folder(path, split)
    elif kind == "hub":
        base = open_table(path, _on_hub(path, revision), split=split, revision=revision, streaming=True)
    else:
        base = open_table(path, kind, **_files_at(path), split=split, streaming=True)
    return Stream(path, base, resolution, colour, column, label_column, classes, buffer, reference)


def _files_at(path: str) -> dict[str, str]:
    where = os.path.expanduser(path)
    return {"data_dir" if os.path.isdir(where) else "data_files": where}


def _on_hub(path: str, revision: str | None) -> str:
    """A hub id that answers; load_dataset by itself goes on asking for half a minute."""
    from huggingface_hub import HfApi, constants

    if not constants.HF_HUB_OFFLINE:
        try:
            HfApi().dataset_info(path, revision=revision, timeout=10)
        except Exception as error:
            raise FastdiffError(
                f"data set {path!r} is no known name ({', '.join(DATASETS)}), no local path, and not to be had from the "
                f"hub: {first_line(error)} (HF_HUB_OFFLINE=1 uses a copy downloaded before)"
            ) from error
    return path


# ---------------------------------------------------------------------------------------------------------------------
# One name for all of them

DATASETS: dict[str, Callable[..., Readable]] = {
    "digits": digits, "toy": toy, "images": images, "parquet": parquet, "hub": hub, "stream": stream, "nothing": nothing,
}  # fmt: skip


def open_dataset(name: str, **options: Any) -> Readable:
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


def hub_id(name: str, options: dict[str, Any]) -> str | None:
    """The hub id, user/data or user/data@revision, that `open_dataset` would ask for; None of a data set elsewhere."""
    path, revision, reader = options.get("path", name), options.get("revision"), DATASETS.get(name)
    if reader is not hub and (reader not in (stream, None) or _kind(path) != "hub"):
        return None
    return f"{path}@{revision}" if revision else path


def _loader(name: str) -> Callable[..., Dataset]:
    """What reads this path or hub id into memory."""
    kind = _kind(name)
    if kind == "webdataset":
        raise FastdiffError(
            f"{name}: tar shards are not read into memory: use `data: {{name: stream, path: {name}, ...}}`"
        )
    return {"images": images, "parquet": parquet, "hub": hub}[kind]


def _kind(name: str) -> str:
    """What a path or hub id is, found by looking: parquet, webdataset, images or hub."""
    path = Path(name).expanduser()
    if path.is_dir():
        suffixes = {Path(file).suffix.lower() for file in glob.iglob("**/*", root_dir=path, recursive=True)}
        tars = ".tar" in suffixes and not suffixes & SUFFIXES
        return "parquet" if ".parquet" in suffixes else "webdataset" if tars else "images"
    matches = [str(path)] if path.is_file() else glob.glob(str(path), recursive=True)
    for suffix, kind in ((".parquet", "parquet"), (".tar", "webdataset")):
        if matches and all(match.endswith(suffix) for match in matches):
            return kind
    if matches:
        raise FastdiffError(f"{name}: expected a folder of images, parquet files or tar shards")
    if (
        name.startswith((".", "/", "~"))
        or path.suffix.lower() in {*SUFFIXES, ".parquet", ".tar"}
        or name.count("/") > 1
    ):
        raise FastdiffError(f"{name}: no such file or folder")
    return "hub"
