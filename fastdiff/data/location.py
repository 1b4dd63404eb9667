"""The kind of data behind a path, a glob pattern or a hub id."""

import glob
from pathlib import Path
from typing import Literal

from ..core.errors import FastdiffError
from ..core.files import expanded
from .image_folder import IMAGE_SUFFIXES, walk

Kind = Literal["parquet", "webdataset", "images", "hub"]


def kind_of(name: str) -> Kind:
    """Return the kind of data behind a path, a glob pattern or a hub id; the disk is inspected.

    Raises:
        FastdiffError: for files of other types, and for a path at which there is nothing.
    """
    if not name:
        raise FastdiffError("the data have no name: expected a known one, a path or a hub id")
    path = expanded(name)
    if path.is_dir():
        return kind_of_folder(path)
    matches = [str(path)] if path.is_file() else glob.glob(str(path), recursive=True)
    if matches and all(match.lower().endswith(".parquet") for match in matches):
        return "parquet"
    if matches and all(match.lower().endswith(".tar") for match in matches):
        return "webdataset"
    if matches:
        raise FastdiffError(f"{name}: expected a folder of images, parquet files or tar shards")
    written_as_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if written_as_path or path.suffix.lower() in {*IMAGE_SUFFIXES, ".parquet", ".tar"}:
        raise FastdiffError(f"{name}: no such file or folder")
    return "hub"


def kind_of_folder(path: Path) -> Kind:
    """Return the kind of data in a folder, by the suffixes of all files below it that are not hidden."""
    suffixes = {file.suffix.lower() for file in walk(path)}
    if ".parquet" in suffixes:
        return "parquet"
    return "webdataset" if ".tar" in suffixes and not suffixes & IMAGE_SUFFIXES else "images"
