"""Images from files and tables, decoded into one tensor."""

import io
import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.errors import FastdiffError, at_least_one, first_line
from .decode import read_picture
from .image_folder import IMAGE_SUFFIXES, list_folder

if TYPE_CHECKING:
    import datasets

Colour = Literal["rgb", "grey"]
Columns = dict[str, Callable[[], list[Any]]]
Source = tuple[str, dict[str, Any]]  # an image's name for messages, and the image: {"path", "bytes"}


class Examples(NamedTuple):
    """Images with their labels and the other columns of their table."""

    images: Tensor  # uint8 (N, C, H, W)
    labels: Tensor | None  # int64 (N,)
    classes: int  # number of classes; 0 when unlabelled
    columns: Columns  # the other columns by name, as functions that read them


def read_folder(path: str, split: str, resolution: int | None, colour: Colour, limit: int | None) -> Examples:
    """Read the images below a folder, sorted by their paths; see `sources.images` for the arguments."""
    root, files, names = list_folder(path, split)
    files = files[: at_least_one("limit", limit)]
    examples = decode(map(_file, (root / file for file in files)), len(files), resolution, colour)
    if not names:
        return Examples(examples, None, 0, {})
    classes = [file.parts[0] for file in files]
    labels = torch.tensor([names.index(name) for name in classes])
    return Examples(examples, labels, len(names), {"class": lambda: classes})


def read_images(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Read one image file, or all images of a folder sorted by name, for a model.

    Args:
        path: the file or the folder.
        shape: shape of the model's samples, (C, H, W). Images are resized and cropped to it if it is square.

    Returns:
        Floats (N, C, H, W) in [-1, 1].

    Raises:
        FastdiffError: if there is no readable image, or the model does not generate images.
    """
    if len(shape) != 3:
        raise FastdiffError(
            f"{path}: expected a model of images, but this model's samples have the shape {tuple(shape)}"
        )
    channels, height, width = shape
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files or not files[0].is_file():
        raise FastdiffError(
            f"{path}: expected an image file, or a folder of them ({', '.join(sorted(IMAGE_SUFFIXES))})"
        )
    resolution = height if height == width else None
    colour = "grey" if channels == 1 else "rgb"
    pixels = decode(map(_file, files), len(files), resolution, colour)
    return pixels.float() / 127.5 - 1


def open_table(name: str, *args: Any, **options: Any) -> "datasets.Dataset":
    """Call `datasets.load_dataset`, and turn its errors into a FastdiffError of one line.

    Args:
        name: name of the data, for errors.
        args: arguments of `load_dataset`.
        options: keyword arguments of `load_dataset`.
    """
    import datasets

    if not _watched():
        datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(*args, **options)
    except Exception as error:
        raise FastdiffError(
            f"data set {name!r}: cannot be loaded: {first_line(error.__cause__ or error)}"
        ) from error


def image_columns(
    name: str, kinds: dict[str, Any], column: str | None, label_column: str | None
) -> tuple[str, str | None]:
    """Find a table's columns of images and of labels.

    Args:
        name: name of the data, for errors.
        kinds: the table's features by column.
        column: the column of images; None to find it by its type.
        label_column: the column of labels; None to find it by its type or its name.

    Returns:
        The column of images, and the column of labels or None.

    Raises:
        FastdiffError: if there are no images, or a named column is missing.
    """
    import datasets

    column = column or next((key for key, kind in kinds.items() if isinstance(kind, datasets.Image)), None)
    if label_column is None:
        typed = [key for key, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)]
        usual = [key for key in ("label", "cls", "json.label") if key in kinds]
        if len(typed) == 1:
            label_column = typed[0]
        elif usual:
            label_column = usual[0]
    for role, key in (("column", column), ("label_column", label_column)):
        if key not in kinds and (role == "column" or key is not None):
            missing = "no column of images" if key is None else f"no column {key!r}"
            raise FastdiffError(f"data set {name!r}: {missing}; set `{role}` to one of {', '.join(kinds)}")
    return column, label_column


def read_table(
    name: str, rows: "datasets.Dataset", resolution: int | None, colour: Colour,
    column: str | None, label_column: str | None, limit: int | None,
) -> Examples:  # fmt: skip
    """Read the images of a table, and its labels if it has any.

    Args:
        name: name of the data, for errors.
        rows: the table.
        resolution: side in pixels to which images are resized and cropped; None keeps their size.
        colour: "rgb" or "grey".
        column: the column of images; None to find it by its type.
        label_column: the column of labels; None to find it by its type or its name.
        limit: number of rows to read, from the first; None for all.

    Raises:
        FastdiffError: for an empty table, for columns that hold no images or labels, and for images that
            cannot be decoded or differ in size.
    """
    import datasets

    column, label_column = image_columns(name, rows.features, column, label_column)
    labels, names = _labels(name, rows, label_column) if label_column else (None, [])
    count = min(len(rows), at_least_one("limit", limit) or len(rows))
    if not count:
        raise FastdiffError(f"data set {name!r} is empty: expected at least one row")
    try:
        table = (
            rows.select(range(count))
            .select_columns([column])
            .cast_column(column, datasets.Image(decode=False))
        )
    except Exception as error:  # arrow has an error of its own for every kind of column that cannot be cast
        raise FastdiffError(f"data set {name!r}: column {column!r} does not hold images") from error
    sources = ((f"row {i} of {name}", row[column]) for i, row in enumerate(table))
    examples = decode(sources, count, resolution, colour)
    columns: Columns = {
        key: partial(lambda key: rows[key][:count], key)
        for key, kind in rows.features.items()
        if not isinstance(kind, datasets.Image)
    }
    if labels is not None:
        labels = labels[:count]
        columns["class"] = lambda: [names[label] for label in labels.tolist()]
    return Examples(examples, labels, len(names), columns)


def _labels(name: str, rows: "datasets.Dataset", column: str) -> tuple[Tensor | None, list[str]]:
    """Read labels (N,) and the names of the classes.

    The labels are None if some are negative, as data sets on the hub mark unlabelled rows.
    """
    import datasets

    values = rows[column][:]
    kind = rows.features[column]
    if any(value is None for value in values):
        raise FastdiffError(f"data set {name!r}: column {column!r} has rows without a label")
    if isinstance(kind, datasets.Value) and kind.dtype in ("string", "large_string"):
        names = {value: index for index, value in enumerate(sorted(set(values)))}
        return torch.tensor([names[value] for value in values]), list(names)
    if not isinstance(kind, datasets.ClassLabel) and "int" not in getattr(kind, "dtype", ""):
        raise FastdiffError(f"data set {name!r}: labels in column {column!r} must be integers or strings")
    if not values or min(values) < 0:
        return None, []
    if isinstance(kind, datasets.ClassLabel):
        return torch.tensor(values), kind.names
    return torch.tensor(values), [str(label) for label in range(max(values) + 1)]


def _file(path: Path) -> Source:
    return str(path), {"path": str(path), "bytes": None}


def decode(sources: Iterable[Source], count: int, resolution: int | None, colour: Colour) -> Tensor:
    """Decode at most `count` images of one size into uint8 (N, C, H, W); see `decode_one`.

    Raises:
        FastdiffError: if an image cannot be decoded, or the images differ in size.
    """
    from rich.progress import track

    at_least_one("resolution", resolution)
    quiet = count <= 5000 or not _watched()
    number = 0
    for where, source in track(sources, "Reading images", total=count, transient=True, disable=quiet):
        image = decode_one(where, source, resolution, colour)
        if number == 0:
            first = where
            size = image.shape[1:]
            pixels = np.empty((count, *image.shape), np.uint8)
        if image.shape[1:] != size:
            raise FastdiffError(
                f"images differ in size: {first} is {size[1]} x {size[0]}, {where} is {image.shape[2]} x "
                f"{image.shape[1]}; `resolution: 32` (or another size) resizes and crops them all"
            )
        pixels[number] = image
        number += 1
    return torch.from_numpy(pixels[:number])


def decode_one(where: str, source: dict[str, Any], resolution: int | None, colour: Colour) -> np.ndarray:
    """Decode an image into uint8 (C, H, W); transparency is dropped.

    Args:
        where: name of the image, for errors.
        source: {"path", "bytes"}; the path is only read if the bytes are None.
        resolution: the shorter side is resized to this number of pixels, and the middle square is kept;
            None keeps the size.
        colour: "rgb" or "grey".

    Raises:
        FastdiffError: if it is not a readable image of 8 bits per channel.
    """
    from PIL import ImageOps
    from PIL.Image import Resampling

    if colour not in ("rgb", "grey"):
        raise FastdiffError(f"colour = {colour!r}: expected rgb or grey")
    try:
        image = read_picture(source["path"] if source["bytes"] is None else io.BytesIO(source["bytes"]))
    except ValueError as error:
        raise FastdiffError(f"{where}: not a readable image ({error})") from None
    if image.mode.startswith(("I", "F")):  # would be clipped to white, not scaled
        raise FastdiffError(f"{where}: pixels of mode {image.mode}; convert it to 8 bits per channel")
    image = image.convert("RGB" if colour == "rgb" else "L")
    if resolution is not None:
        image = ImageOps.fit(image, (resolution, resolution), Resampling.LANCZOS)
    return np.asarray(image).reshape(image.height, image.width, -1).transpose(2, 0, 1)


def _watched() -> bool:
    """Return whether to show progress bars: only in a terminal, and only on the main process."""
    return sys.stdout.isatty() and os.environ.get("RANK", "0") == "0"
