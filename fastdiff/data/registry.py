"""Data sets by name or path: in memory, or as streams that are read during training."""

import inspect
from collections.abc import Callable
from typing import Any

from ..core.defaults import float32_on_cpu
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


@float32_on_cpu()
def open_dataset(name: str, **options: Any) -> Readable:
    """Open a data set by its name, path or hub id.

    Example:
        >>> digits = fastdiff.open_dataset("digits")
        >>> faces = fastdiff.open_dataset("path/to/folder", resolution=64)
        >>> x0, cond = faces.get(torch.arange(16))  # (16, 3, 64, 64) in [-1, 1]

    Args:
        name: a key of DATASETS; or the path of a folder of images or of parquet files (also as a glob
            pattern); or a hub id, user/data.
        options: parameters of the function in DATASETS (`images`, `parquet` or `hub` for a path or hub id),
            such as resolution, colour, split, limit and captions.

    Returns:
        A Dataset in memory: uint8 images (N, C, H, W), or float32 (N, ...) for other data, with labels,
        captions and conditioning images if the data have any. For the name "stream", a Stream.

    Raises:
        FastdiffError: for an unknown name or option, and for data that cannot be read.
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
    """Return the hub id that `open_dataset` would read: user/data or user/data@revision.

    None if it would read something else.
    """
    path = options.get("path", name)
    revision = options.get("revision")
    reader = DATASETS.get(name)
    if reader is not hub:
        may_be_on_hub = reader is stream or reader is None
        if not may_be_on_hub or kind_of(path) != "hub":
            return None
    return f"{path}@{revision}" if revision else path


def reader_of(name: str) -> Callable[..., Dataset]:
    """Return the function of DATASETS that reads a path or hub id into memory."""
    kind = kind_of(name)
    if kind == "webdataset":
        raise FastdiffError(
            f"{name}: tar shards cannot be read into memory; use `data: {{name: stream, path: {name}, ...}}`"
        )
    return {"images": images, "parquet": parquet, "hub": hub}[kind]
