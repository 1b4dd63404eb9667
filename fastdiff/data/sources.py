"""The data sets of images from files and from the Hugging Face hub: entries of DATASETS."""

import glob
import os
from typing import TYPE_CHECKING

from ..core.errors import FastdiffError, first_line
from ..core.files import expanded, identity
from .conditioning import Derived, with_conditions
from .dataset import Dataset
from .image_folder import stream_folder, walk
from .images import Colour, open_table, read_folder, read_table
from .labels import LabelColumn
from .location import kind_of
from .stream import MAX_LANES, Stream

if TYPE_CHECKING:
    import datasets


def images(
    path: str,
    split: str | None = "train",
    resolution: int | None = None,
    colour: Colour = "rgb",
    limit: int | None = None,
    image: Derived = None,
    captions: str | None = None,
) -> Dataset:
    """A folder of images; direct subfolders are its classes.

    The classes are the sorted names of the subfolders (numbers by their value), if all images lie in direct
    subfolders. If all subfolders with images are named like splits (train, test, ...), only the one named
    `split` is read. Links to folders are followed. Hidden files are left out, and so are folders whose names
    begin with `.`, `_` or `@`, which programs leave there.

    Args:
        path: path of the folder.
        split: name of the split to read, for folders that are divided into splits; None if no subfolder is a
            split, whatever it is called.
        resolution: side in pixels to which images are resized and cropped; None keeps their size, which has
            to be the same for all.
        colour: "rgb" or "grey".
        limit: number of images to read, in order of their paths; None for all.
        image: derives an image from each example to condition on: `low` (super-resolution) or `grey`
            (colourisation); None for no conditioning image.
        captions: template of the captions, such as "a photo of a {class}"; None for no captions.

    Returns:
        A Dataset of uint8 images (N, C, H, W).

    Raises:
        FastdiffError: for a folder without images, and for images that cannot be read or differ in size.
    """
    read = read_folder(path, split, resolution, colour, limit)
    return with_conditions(path, read, image, captions)


def parquet(
    path: str,
    split: str = "train",
    resolution: int | None = None,
    colour: Colour = "rgb",
    column: str | None = None,
    label_column: LabelColumn = None,
    limit: int | None = None,
    image: Derived = None,
    image_column: str | None = None,
    captions: str | None = None,
) -> Dataset:
    """A table of images in parquet files.

    Args:
        path: a file, a glob pattern, or a folder of files (splits are recognised by the file names, as on
            the hub).
        split: name of the split to read.
        resolution: side in pixels to which images are resized and cropped; None keeps their size, which has
            to be the same for all.
        colour: "rgb" or "grey".
        column: the column of images; None to find it by its type.
        label_column: the column of labels, integers or strings; False for none, None to find it by its type
            or its name.
        limit: number of rows to read, from the first; None for all.
        image: derives an image from each example to condition on: `low` (super-resolution) or `grey`
            (colourisation); None for no conditioning image.
        image_column: a column of images to condition on (such as segmentation maps), in the place of `image`.
        captions: template of the captions, such as "a photo of a {class}", "{text}" for the values of a
            column, or "{texts[0]}" for the first of a list; None for no captions.

    Returns:
        A Dataset of uint8 images (N, C, H, W).

    Raises:
        FastdiffError: for files that cannot be read, and for a column that is missing or holds other values.
    """
    kind_of(path)  # raises if there are no such files
    rows = open_table(path, "parquet", **_files_at(path), split=split, cache_dir=_cache_of(path))
    return table(path, rows, resolution, colour, column, label_column, limit, image, image_column, captions)


def table(
    name: str,
    rows: "datasets.Dataset",
    resolution: int | None,
    colour: Colour,
    column: str | None,
    label_column: LabelColumn,
    limit: int | None,
    image: Derived | None,
    image_column: str | None,
    captions: str | None,
) -> Dataset:
    """Return the examples of a table with their conditions; see `parquet` for the arguments."""
    read = read_table(name, rows, resolution, colour, column, label_column, limit, other=image_column)
    other = None
    if image_column:
        other = read_table(name, rows, resolution, colour, image_column, False, limit).images
    return with_conditions(name, read, image, captions, other)


def hub(
    path: str,
    split: str = "train",
    resolution: int | None = None,
    colour: Colour = "rgb",
    column: str | None = None,
    label_column: LabelColumn = None,
    limit: int | None = None,
    revision: str | None = None,
    image: Derived = None,
    image_column: str | None = None,
    captions: str | None = None,
) -> Dataset:
    """A data set of images on the Hugging Face hub.

    Offline (HF_HUB_OFFLINE=1) a copy in the hub's cache is read.

    Args:
        path: the hub id, user/data.
        split: name of the split to read.
        resolution: side in pixels to which images are resized and cropped; None keeps their size, which has
            to be the same for all.
        colour: "rgb" or "grey".
        column: the column of images; None to find it by its type.
        label_column: the column of labels, integers or strings; False for none, None to find it by its type
            or its name.
        limit: number of rows to read, from the first; None for all.
        revision: a branch, tag or commit; None for the newest. A run stays at the commit that it began with.
        image: derives an image from each example to condition on: `low` (super-resolution) or `grey`
            (colourisation); None for no conditioning image.
        image_column: a column of images to condition on (such as segmentation maps), in the place of `image`.
        captions: template of the captions, such as "a photo of a {class}", "{text}" for the values of a
            column, or "{texts[0]}" for the first of a list; None for no captions.

    Returns:
        A Dataset of uint8 images (N, C, H, W).

    Raises:
        FastdiffError: for an id that cannot be found on the hub, and for a column that is missing or holds
            other values.
    """
    from huggingface_hub import constants

    rows = open_table(path, _on_hub(path, revision), split=split, revision=revision)
    if constants.HF_HUB_OFFLINE and revision:
        files = [file["filename"] for file in rows.cache_files]
        if not all(revision in file for file in files):
            raise FastdiffError(
                f"data set {path!r}: the copy in the cache is not of revision {revision}; "
                "unset HF_HUB_OFFLINE to download it"
            )
    return table(path, rows, resolution, colour, column, label_column, limit, image, image_column, captions)


def stream(
    path: str,
    resolution: int,
    split: str | None = "train",
    colour: Colour = "rgb",
    column: str | None = None,
    label_column: LabelColumn = None,
    classes: int = 0,
    buffer: int = 4096,
    reference: int = 10_000,
    revision: str | None = None,
) -> Stream:
    """A stream of images from tar shards, parquet files, a folder or the hub, read during training.

    Args:
        path: tar shards (WebDataset) or parquet files, also as a glob pattern; a folder of images; or a hub
            id, user/data.
        resolution: side in pixels to which images are resized and cropped.
        split: name of the split to read; None for a folder without splits.
        colour: "rgb" or "grey".
        column: the column of images; None to find it by its type.
        label_column: the column of labels, `outer.inner` in a nested column; False for none, None to find it
            by its type or, if the number of classes is known, by its name.
        classes: number of classes; 0 if the data state it or are unlabelled.
        buffer: number of examples that are held in memory to be shuffled.
        reference: number of examples, from the first, that are kept in memory for metrics.
        revision: a branch, tag or commit of a hub id; None for the newest.

    Returns:
        A Stream of uint8 images (C, resolution, resolution).

    Raises:
        FastdiffError: for data that cannot be found or read, and for a column that is missing or holds other
            values.
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
    """Return the arguments of `load_dataset` for a file, a folder or a pattern.

    They are patterns, in which special characters of a file, a folder and the working directory are escaped.
    """
    where = str(expanded(path))
    if os.path.isdir(where):
        return {"data_dir": glob.escape(os.path.abspath(where))}
    if os.path.isfile(where):
        return {"data_files": glob.escape(os.path.abspath(where))}
    return {"data_files": os.path.join(glob.escape(os.getcwd()), where)}


def _cache_of(path: str) -> str:
    """Return the folder of converted tables for files, which changes with each of them.

    The cache of `datasets` knows a file by its size and time of modification, which copying may keep.
    """
    import datasets

    where = expanded(path)
    if where.is_dir():
        found = [str(where / file) for file in walk(where)]
    else:
        found = glob.glob(str(where), recursive=True) or [str(where)]
    states = [(file, os.stat(file) if os.path.exists(file) else os.lstat(file)) for file in sorted(found)]
    marks = [(file, state.st_size, state.st_mtime_ns, state.st_ctime_ns) for file, state in states]
    folder = identity(path=os.path.abspath(where), files=marks)
    return os.path.join(datasets.config.HF_DATASETS_CACHE, "fastdiff", folder)


def _on_hub(path: str, revision: str | None) -> str:
    """Return the hub id after checking that the hub answers; `load_dataset` would retry for half a minute."""
    from huggingface_hub import HfApi, constants

    if not constants.HF_HUB_OFFLINE:
        try:
            HfApi().dataset_info(path, revision=revision, timeout=10)
        except Exception as error:
            from .registry import DATASETS  # imports this module

            raise FastdiffError(
                f"data set {path!r}: not a known name ({', '.join(DATASETS)}), not a local path, and could "
                f"not be found on the Hub ({first_line(error)}); HF_HUB_OFFLINE=1 uses a copy in the cache"
            ) from error
    return path
