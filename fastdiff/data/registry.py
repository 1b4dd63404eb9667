"""Data sets by name or path: held in memory, or streams that are read during training."""

import inspect
from collections.abc import Callable
from typing import Any

from ..core.errors import FastdiffError
from .batch import Batch
from .dataset import Dataset, Nothing, Readable, batch_at
from .location import kind_of
from .order import order
from .sources import hub, images, parquet, stream
from .toys import TOYS, digits, mixture, nothing, toy

__all__ = [
    "DATASETS",
    "TOYS",
    "Batch",
    "Dataset",
    "Nothing",
    "Readable",
    "batch_at",
    "digits",
    "hub",
    "hub_id",
    "images",
    "mixture",
    "nothing",
    "open_dataset",
    "order",
    "parquet",
    "stream",
    "toy",
]

DATASETS: dict[str, Callable[..., Readable]] = {
    "digits": digits,
    "toy": toy,
    "images": images,
    "parquet": parquet,
    "hub": hub,
    "stream": stream,
    "nothing": nothing,
}


def open_dataset(name: str, **options: Any) -> Readable:
    """Open a data set.

    Args:
        name: a key of DATASETS, or a folder of images, parquet files, or a hub id.
        options: parameters of the function in DATASETS.

    Raises:
        FastdiffError: for an unknown name or option, or data that cannot be read.
    """
    if name in DATASETS:
        reader = DATASETS[name]
        arguments = options
    else:
        reader = reader_of(name)
        arguments = {"path": name, **options}
    signature = inspect.signature(reader)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        known = ", ".join(signature.parameters) or "none"
        raise FastdiffError(f"data set {name!r}: {error}; its options: {known}") from None
    return reader(**arguments)


def hub_id(name: str, options: dict[str, Any]) -> str | None:
    """Return the hub id that `open_dataset` would read, user/data or user/data@revision; else None."""
    path = options.get("path", name)
    revision = options.get("revision")
    reader = DATASETS.get(name)
    if reader is not hub:
        may_be_on_hub = reader is stream or reader is None
        if not may_be_on_hub or kind_of(path) != "hub":
            return None
    return f"{path}@{revision}" if revision else path


def reader_of(name: str) -> Callable[..., Dataset]:
    """Return the function that reads a path or hub id into memory."""
    kind = kind_of(name)
    if kind == "webdataset":
        raise FastdiffError(
            f"{name}: tar shards are not read into memory: use `data: {{name: stream, path: {name}, ...}}`"
        )
    return {"images": images, "parquet": parquet, "hub": hub}[kind]
