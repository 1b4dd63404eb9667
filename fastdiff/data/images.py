"""Images from files and tables, decoded into one tensor: images uint8 (N, C, H, W), labels (N,) or None, classes."""

import glob
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

if TYPE_CHECKING:
    import datasets

SPLITS = {"train", "test", "val", "valid", "validation"}
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}
Colour = Literal["rgb", "grey"]
Columns = dict[str, Callable[[], list[Any]]]
Source = tuple[str, dict[str, Any]]  # where an image is, for messages, and the image: {"path", "bytes"}


class Examples(NamedTuple):
    """What was read: images uint8 (N, C, H, W), labels (N,) or None, classes, and what else is said of them, by name."""

    images: Tensor
    labels: Tensor | None
    classes: int
    columns: Columns


def list_folder(path: str, split: str) -> tuple[Path, list[Path], list[str]]:
    """The folder of a split, the images below it in order of their paths, and the classes' names; see data.images."""
    root = Path(path).expanduser()
    folders = {folder.name for folder in root.iterdir() if folder.is_dir()} if root.is_dir() else set()
    if split in folders and folders <= SPLITS:
        root = root / split
    elif split != "train":
        raise FastdiffError(
            f"{path}: no subfolder {split!r} among its splits; name the folder of images itself"
        )
    files = sorted(Path(file) for file in glob.glob("**/*", root_dir=root, recursive=True))
    files = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not files:
        raise FastdiffError(f"{root}: no images found ({', '.join(sorted(SUFFIXES))})")
    names = sorted({file.parts[0] for file in files}) if all(len(file.parts) == 2 for file in files) else []
    return root, files, names


def read_folder(path: str, split: str, resolution: int | None, colour: Colour, limit: int | None) -> Examples:
    """The images below a folder, in order of their paths; see data.images."""
    root, files, names = list_folder(path, split)
    files = files[: at_least_one("limit", limit)]
    examples = decode(map(_file, (root / file for file in files)), len(files), resolution, colour)
    labels = torch.tensor([names.index(file.parts[0]) for file in files]) if names else None
    return Examples(
        examples, labels, len(names), {"class": lambda: [file.parts[0] for file in files]} if names else {}
    )


def read_images(path: Path, shape: tuple[int, ...]) -> Tensor:
    """An image file, or all of a folder by name, as floats (N, *shape) in [-1, 1], resized to a square shape."""
    if len(shape) != 3:
        raise FastdiffError(f"{path}: an image, but the model makes samples of shape {tuple(shape)}")
    channels, height, width = shape
    files = (
        sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if path.is_dir()
        else [path]
    )
    if not files or not files[0].is_file():
        raise FastdiffError(
            f"{path}: expected an image file, or a folder of them ({', '.join(sorted(SUFFIXES))})"
        )
    pixels = decode(
        map(_file, files), len(files), height if height == width else None, "grey" if channels == 1 else "rgb"
    )
    return pixels.float() / 127.5 - 1


def open_table(name: str, *args: Any, **options: Any) -> "datasets.Dataset":
    """datasets.load_dataset, with its failures in one line."""
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
    """The columns of images and of labels (None: there is none): those named, else those found by their kinds."""
    import datasets

    column = column or next((key for key, kind in kinds.items() if isinstance(kind, datasets.Image)), None)
    if label_column is None:
        found = [key for key, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)]
        usual = [key for key in ("label", "cls", "json.label") if key in kinds]
        label_column = found[0] if len(found) == 1 else usual[0] if usual else None
    for role, key in (("column", column), ("label_column", label_column)):
        if key not in kinds and (role == "column" or key is not None):
            missing = "no column of images" if key is None else f"no column {key!r}"
            raise FastdiffError(f"data set {name!r}: {missing}; set `{role}` to one of {', '.join(kinds)}")
    return column, label_column


def read_table(
    name: str, rows: "datasets.Dataset", resolution: int | None, colour: Colour,
    column: str | None, label_column: str | None, limit: int | None,
) -> Examples:  # fmt: skip
    """Images from the image column of a table, labels from its label column."""
    import datasets

    column, label_column = image_columns(name, rows.features, column, label_column)
    labels, names = _labels(name, rows, label_column) if label_column else (None, [])
    count = min(len(rows), at_least_one("limit", limit) or len(rows))
    if not count:
        raise FastdiffError(f"data set {name!r} is empty")
    try:
        table = (
            rows.select(range(count))
            .select_columns([column])
            .cast_column(column, datasets.Image(decode=False))
        )
    except Exception as error:  # arrow has an error of its own for every kind of column that cannot be cast
        raise FastdiffError(f"data set {name!r}: column {column!r} does not hold images") from error
    sources = ((f"row {i} of {name}", row[column]) for i, row in enumerate(table))
    examples, plain = decode(sources, count, resolution, colour), {}
    for key, kind in rows.features.items():
        if not isinstance(kind, datasets.Image):
            plain[key] = partial(lambda key: rows[key][:count], key)
    if labels is not None:
        plain["class"] = lambda: [names[label] for label in labels[:count].tolist()]
    return Examples(examples, None if labels is None else labels[:count], len(names), plain)


def _labels(name: str, rows: "datasets.Dataset", column: str) -> tuple[Tensor | None, list[str]]:
    """Labels (N,) and the classes' names; None where some are negative, which on the hub means not labelled."""
    import datasets

    values, kind = rows[column][:], rows.features[column]
    if any(value is None for value in values):
        raise FastdiffError(f"data set {name!r}: column {column!r} has rows without a label")
    if isinstance(kind, datasets.Value) and kind.dtype in ("string", "large_string"):
        names = {value: index for index, value in enumerate(sorted(set(values)))}
        return torch.tensor([names[value] for value in values]), list(names)
    if not isinstance(kind, datasets.ClassLabel) and "int" not in getattr(kind, "dtype", ""):
        raise FastdiffError(f"data set {name!r}: labels in column {column!r} must be integers or strings")
    if not values or min(values) < 0:
        return None, []
    return torch.tensor(values), kind.names if isinstance(kind, datasets.ClassLabel) else [
        *map(str, range(max(values) + 1))
    ]


def _file(path: Path) -> Source:
    return str(path), {"path": str(path), "bytes": None}


def decode(sources: Iterable[Source], count: int, resolution: int | None, colour: Colour) -> Tensor:
    """Encoded images, at most count of them, as uint8 (N, C, H, W), all of one size; see decode_one."""
    from rich.progress import track

    at_least_one("resolution", resolution)
    quiet, number = count <= 5000 or not _watched(), 0
    for where, source in track(sources, "Reading images", total=count, transient=True, disable=quiet):
        image = decode_one(where, source, resolution, colour)
        if number == 0:
            first, size = where, image.shape[1:]
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
    """An encoded image {"path", "bytes"} as uint8 (C, H, W); transparency is dropped. where names it in an error.

    resolution: None keeps the image as it is, else the shorter side is resized to it and the middle square
    kept.
    """
    from PIL import ImageOps
    from PIL.Image import Resampling

    if colour not in ("rgb", "grey"):
        raise FastdiffError(f"colour {colour!r} is unknown; choose rgb or grey")
    try:
        image = read_picture(source["path"] if source["bytes"] is None else io.BytesIO(source["bytes"]))
    except ValueError as error:
        raise FastdiffError(f"{where}: not a readable image ({error})") from None
    if image.mode.startswith(("I", "F")):  # would be clipped to white, not scaled
        raise FastdiffError(f"{where}: pixels of mode {image.mode}; convert it to 8 bits a channel")
    image = image.convert("RGB" if colour == "rgb" else "L")
    if resolution is not None:
        image = ImageOps.fit(image, (resolution, resolution), Resampling.LANCZOS)
    return np.asarray(image).reshape(image.height, image.width, -1).transpose(2, 0, 1)


def _watched() -> bool:
    """Whether somebody looks at progress bars: a terminal, and the main process."""
    return sys.stdout.isatty() and os.environ.get("RANK", "0") == "0"
