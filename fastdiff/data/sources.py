"""Data sets of images from files and from the Hugging Face hub."""

import os
from typing import TYPE_CHECKING

from ..core.errors import FastdiffError, first_line
from .conditioning import Derived, with_conditions
from .dataset import Dataset
from .image_folder import stream_folder
from .images import Colour, open_table, read_folder, read_table
from .location import kind_of
from .stream import MAX_LANES, Stream

if TYPE_CHECKING:
    import datasets


def images(
    path: str,
    split: str = "train",
    resolution: int | None = None,
    colour: Colour = "rgb",
    limit: int | None = None,
    image: Derived = None,
    captions: str | None = None,
) -> Dataset:
    """A folder of images; when all of them lie in direct subfolders, these are the classes, in sorted order.

    A folder whose subfolders are all splits (train, test, ...) is entered at `split`. Hidden files are
    skipped.

    Args:
        path: of the folder.
        split: a subfolder.
        resolution: of the images, resized and cropped; None keeps them as they are.
        colour: rgb or grey.
        limit: number of images that are read, in order of their paths; None for all.
        image: makes an image of each example to condition it on (super-resolution, colourisation).
        captions: such as "a photo of a {class}".
    """
    read = read_folder(path, split, resolution, colour, limit)
    return with_conditions(path, read, image, captions)


def parquet(
    path: str,
    split: str = "train",
    resolution: int | None = None,
    colour: Colour = "rgb",
    column: str | None = None,
    label_column: str | None = None,
    limit: int | None = None,
    image: Derived = None,
    image_column: str | None = None,
    captions: str | None = None,
) -> Dataset:
    """A parquet file, a glob pattern of them, or a folder of them (split by file name, as on the hub).

    Args:
        path: of the file or folder, or the pattern.
        split: of the data.
        resolution: of the images, resized and cropped; None keeps them as they are.
        colour: rgb or grey.
        column: of the images; None for the one that looks like it.
        label_column: of the labels; None for the one that looks like it, if any.
        limit: number of rows that are read, from the first; None for all.
        image: makes an image of each example to condition it on (super-resolution, colourisation).
        image_column: of images to condition on, in place of those (segmentation).
        captions: such as "a photo of a {class}", or "{text}" for the values of a column.
    """
    rows = open_table(path, "parquet", **_files_at(path), split=split)
    return table(path, rows, resolution, colour, column, label_column, limit, image, image_column, captions)


def table(
    name: str,
    rows: "datasets.Dataset",
    resolution: int | None,
    colour: Colour,
    column: str | None,
    label_column: str | None,
    limit: int | None,
    image: Derived | None,
    image_column: str | None,
    captions: str | None,
) -> Dataset:
    """Read a table's examples with their conditions; see `parquet`."""
    read = read_table(name, rows, resolution, colour, column, label_column, limit)
    other = None
    if image_column:
        other = read_table(name, rows, resolution, colour, image_column, None, limit).images
    return with_conditions(name, read, image, captions, other)


def hub(
    path: str,
    split: str = "train",
    resolution: int | None = None,
    colour: Colour = "rgb",
    column: str | None = None,
    label_column: str | None = None,
    limit: int | None = None,
    revision: str | None = None,
    image: Derived = None,
    image_column: str | None = None,
    captions: str | None = None,
) -> Dataset:
    """A data set of images on the Hugging Face hub; offline (HF_HUB_OFFLINE=1) a copy already downloaded.

    Args:
        path: the hub id.
        split: of the data.
        resolution: of the images, resized and cropped; None keeps them as they are.
        colour: rgb or grey.
        column: of the images; None for the one that looks like it.
        label_column: of the labels; None for the one that looks like it, if any.
        limit: number of rows that are read, from the first; None for all.
        revision: a branch, tag or commit; a run keeps to the commit that it began with.
        image: makes an image of each example to condition it on (super-resolution, colourisation).
        image_column: of images to condition on, in place of those (segmentation).
        captions: such as "a photo of a {class}", or "{text}" for the values of a column.
    """
    from huggingface_hub import constants

    rows = open_table(path, _on_hub(path, revision), split=split, revision=revision)
    if constants.HF_HUB_OFFLINE and revision:
        files = [file["filename"] for file in rows.cache_files]
        if not all(revision in file for file in files):
            raise FastdiffError(
                f"data set {path!r}: the copy already downloaded is not of revision {revision}"
            )
    return table(path, rows, resolution, colour, column, label_column, limit, image, image_column, captions)


def stream(
    path: str,
    resolution: int,
    split: str = "train",
    colour: Colour = "rgb",
    column: str | None = None,
    label_column: str | None = None,
    classes: int = 0,
    buffer: int = 4096,
    reference: int = 10_000,
    revision: str | None = None,
) -> Stream:
    """Tar shards (WebDataset), parquet files, a folder of images or a hub id, read during training.

    Args:
        path: of the files or the folder, a pattern, or a hub id.
        resolution: of the images, resized and cropped.
        split: of the data.
        colour: rgb or grey.
        column: of the images; None for the one that looks like it.
        label_column: of the labels; None for the one that looks like it, if any.
        classes: number of classes, if the data do not state it.
        buffer: examples among which they are shuffled.
        reference: first examples that are kept in memory for metrics.
        revision: of a hub id.
    """
    kind = kind_of(path)
    if kind == "images":
        base = stream_folder(path, split, MAX_LANES)
    elif kind == "hub":
        base = open_table(path, _on_hub(path, revision), split=split, revision=revision, streaming=True)
    else:
        base = open_table(path, kind, **_files_at(path), split=split, streaming=True)
    return Stream(path, base, resolution, colour, column, label_column, classes, buffer, reference)


def _files_at(path: str) -> dict[str, str]:
    where = os.path.expanduser(path)
    return {"data_dir" if os.path.isdir(where) else "data_files": where}


def _on_hub(path: str, revision: str | None) -> str:
    """Return a hub id that answers; load_dataset alone would try for half a minute."""
    from huggingface_hub import HfApi, constants

    if not constants.HF_HUB_OFFLINE:
        try:
            HfApi().dataset_info(path, revision=revision, timeout=10)
        except Exception as error:
            from .registry import DATASETS  # which lists the functions of this file

            raise FastdiffError(
                f"data set {path!r} is no known name ({', '.join(DATASETS)}), no local path, and not to be "
                f"had from the hub: {first_line(error)} (HF_HUB_OFFLINE=1 uses a copy downloaded before)"
            ) from error
    return path
