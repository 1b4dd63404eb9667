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
from ..core.files import expanded
from ..core.memory import enough_memory
from .decode import check_size, read_picture
from .image_folder import IMAGE_SUFFIXES, list_folder
from .labels import LabelColumn, find_label_column, read_labels

if TYPE_CHECKING:
    import datasets

Colour = Literal["rgb", "grey"]
Columns = dict[str, Callable[[], list[Any]]]
Source = tuple[str, dict[str, Any]]  # an image's name for messages, and the image: {"path", "bytes"}
USUAL_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp")


class Examples(NamedTuple):
    """Images with their labels and the other columns of their table."""

    images: Tensor  # uint8 (N, C, H, W)
    labels: Tensor | None  # int64 (N,)
    names: tuple[str, ...]  # names of the classes; () when unlabelled
    columns: Columns  # the other columns by name, as functions that read them


def read_folder(
    path: str, split: str | None, resolution: int | None, colour: Colour, limit: int | None
) -> Examples:
    """Read the images below a folder, sorted by their paths; see `sources.images` for the arguments."""
    root, files, names = list_folder(path, split)
    files = files[: at_least_one("limit", limit)]
    examples = decode(map(_file, (root / file for file in files)), len(files), resolution, colour)
    if not names:
        return Examples(examples, None, (), {})
    classes = [file.parts[0] for file in files]
    labels = torch.tensor([names.index(name) for name in classes])
    return Examples(examples, labels, tuple(names), {"class": lambda: classes})


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
    path = expanded(path)
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        files = [file for file in files if not (file.name.startswith(".") or file.is_dir())]
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

    if options["split"] is None:
        raise FastdiffError(f"data set {name!r}: split = None: expected the name of a split, such as train")
    if not _watched():
        datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(*args, **options)
    except Exception as error:
        raise FastdiffError(
            f"data set {name!r}: cannot be loaded: {first_line(error.__cause__ or error)}"
        ) from error


def find_image_column(name: str, kinds: dict[str, Any], chosen: str | None, other: str | None = None) -> str:
    """Return the column of a table's images.

    Args:
        name: name of the data, for errors.
        kinds: the table's features by column.
        chosen: the column; None to find it: the only column of images, or one with a usual name.
        other: another column of images, which is not meant.

    Raises:
        FastdiffError: if there are no images, if the chosen column is missing, or if it is unclear which
            column is meant.
    """
    if chosen is not None:
        if chosen in kinds:
            return chosen
        raise FastdiffError(
            f"data set {name!r}: no column {chosen!r}; set `column` to one of {', '.join(kinds)}"
        )
    found = [key for key, kind in kinds.items() if is_image(kind) and key != other]
    usual = [key for key in found if key.lower() in USUAL_COLUMNS]
    if len(found) == 1 or len(usual) == 1:
        return (usual or found)[0]
    if found:
        raise FastdiffError(
            f"data set {name!r}: several columns of images; set `column` to one of {', '.join(found)}"
        )
    raise FastdiffError(f"data set {name!r}: no column of images; set `column` to one of {', '.join(kinds)}")


def is_image(kind: Any) -> bool:
    """Return whether a column of this type holds images: encoded ones, or their bytes and paths."""
    import datasets

    return isinstance(kind, datasets.Image) or (isinstance(kind, dict) and set(kind) == {"bytes", "path"})


def read_table(
    name: str, rows: "datasets.Dataset", resolution: int | None, colour: Colour,
    column: str | None, label_column: LabelColumn, limit: int | None, other: str | None = None,
) -> Examples:  # fmt: skip
    """Read the images of a table, and its labels if it has any.

    Args:
        name: name of the data, for errors.
        rows: the table.
        resolution: side in pixels to which images are resized and cropped; None keeps their size.
        colour: "rgb" or "grey".
        column: the column of images; None to find it by its type.
        label_column: the column of labels; False for none, None to find it by its type or its name.
        limit: number of rows to read, from the first; None for all.
        other: another column of images, which is not meant by None.

    Raises:
        FastdiffError: for an empty table, for columns that hold no images or labels, and for images that
            cannot be decoded or differ in size.
    """
    import datasets

    column = find_image_column(name, rows.features, column, other)
    label_column = find_label_column(name, rows.features, label_column)
    count = min(len(rows), at_least_one("limit", limit) or len(rows))
    if not count:
        raise FastdiffError(f"data set {name!r} is empty: expected at least one row")
    labels, names = read_labels(name, rows, label_column, count) if label_column else (None, ())
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
        key: partial(_values, rows, key, count)
        for key, kind in rows.features.items()
        if not isinstance(kind, datasets.Image)
    }
    if labels is not None and "class" not in columns:
        columns["class"] = lambda: [names[label] for label in labels.tolist()]
    return Examples(examples, labels, names, columns)


def _values(rows: "datasets.Dataset", column: str, count: int) -> list[Any]:
    """Return the first values of a column; classes as their names, and None for a missing one."""
    values = rows[column][:count]
    names = getattr(rows.features[column], "names", None)
    if names is None:
        return values
    known = range(len(names))
    return [names[value] if value in known else None for value in values]


def _file(path: Path) -> Source:
    return str(path), {"path": str(path), "bytes": None}


def decode(
    sources: Iterable[Source], count: int, resolution: int | None, colour: Colour, stream: bool = False
) -> Tensor:
    """Decode at most `count` images of one size into uint8 (N, C, H, W); see `decode_one`.

    Args:
        sources: the images.
        count: their number; for a stream, the largest.
        resolution: side in pixels to which images are resized and cropped; None keeps their size.
        colour: "rgb" or "grey".
        stream: whether they are the reference examples of a stream.

    Raises:
        FastdiffError: if there is no image or one cannot be decoded, if the images differ in size, or if all
            of them do not fit into memory.
    """
    from rich.progress import track

    at_least_one("resolution", resolution)
    least = 1 if stream else count
    if resolution is not None:
        check_size(least, 3 if colour == "rgb" else 1, resolution, resolution, stream)
    quiet = count <= 5000 or not _watched()
    number = 0
    for where, source in track(sources, "Reading images", total=count, transient=True, disable=quiet):
        image = decode_one(where, source, resolution, colour)
        if number == 0:
            first = where
            size = image.shape[1:]
            with enough_memory(check_size(least, *image.shape, stream)):
                pixels = np.empty((count, *image.shape), np.uint8)
        if image.shape[1:] != size:
            raise FastdiffError(
                f"images differ in size: {first} is {size[1]} x {size[0]}, {where} is {image.shape[2]} x "
                f"{image.shape[1]}; `resolution: 32` (or another size) resizes and crops them all"
            )
        pixels[number] = image
        number += 1
    if number == 0:
        raise FastdiffError("no images to read: expected at least one")
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
    if not source or (source["bytes"] is None and not source["path"]):
        raise FastdiffError(f"{where}: no image in this row; remove the row, or read fewer with `limit`")
    try:
        image = read_picture(source["path"] if source["bytes"] is None else io.BytesIO(source["bytes"]))
    except ValueError as error:
        raise FastdiffError(f"{where}: not a readable image ({error})") from None
    if image.mode.startswith(("I", "F")):  # would be clipped to white, not scaled
        raise FastdiffError(f"{where}: pixels of mode {image.mode}; convert it to 8 bits per channel")
    try:
        image = image.convert("RGB" if colour == "rgb" else "L")
    except ValueError:
        raise FastdiffError(f"{where}: pixels of mode {image.mode}; convert it to RGB or grey") from None
    if resolution is not None:
        image = ImageOps.fit(image, (resolution, resolution), Resampling.LANCZOS)
    return np.asarray(image).reshape(image.height, image.width, -1).transpose(2, 0, 1)


def _watched() -> bool:
    """Return whether to show progress bars: only in a terminal, and only on the main process."""
    return sys.stdout.isatty() and os.environ.get("RANK", "0") == "0"
