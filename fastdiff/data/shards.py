"""Tensors stored as several checksummed safetensors files, which are computed one by one and read as one."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import LongTensor, Tensor

from ..core.errors import FastdiffError, first_line
from ..core.files import atomic_write, parse_json

Columns = dict[str, Tensor]


def store(path: Path, columns: Columns, notes: dict[str, Any]) -> None:
    """Write a file of columns and notes atomically; another run may write the same file at the same time.

    Args:
        path: the file; its folder is created.
        columns: tensors by name.
        notes: JSON values by name, for the file's header.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    on_host = {name: column.cpu().contiguous() for name, column in columns.items()}
    with atomic_write(path, unique=True) as scratch:
        save_file(on_host, scratch, {name: json.dumps(note) for name, note in notes.items()})


def checksum(columns: Columns) -> int:
    """Return the CRC-32 of the columns' bytes."""
    columns_bytes = [columns[name].cpu().contiguous().numpy().tobytes() for name in sorted(columns)]
    return zlib.crc32(b"".join(columns_bytes))


def read_notes(path: Path) -> dict[str, Any]:
    """Return the notes in the header of a file of columns."""
    with safe_open(path, "pt") as file:
        return {name: parse_json(value) for name, value in file.metadata().items()}


def forget_damaged(folder: Path) -> None:
    """Delete the files that do not match their checksums, so that they are computed again."""
    for part in sorted(folder.glob("[0-9]*.safetensors")):
        try:
            if read_notes(part)["sum"] == checksum(load_file(part)):
                continue
        except (SafetensorError, OSError, ValueError, KeyError, AttributeError):
            pass
        print(f"{part} is damaged and will be computed again")
        part.unlink(missing_ok=True)


def fill(
    folder: Path,
    count: int,
    make: Callable[[int], Columns],
    accelerator: Accelerator,
    advance: Callable[[int], None],
) -> list[Columns]:
    """Compute the files that are missing, each on one process, and return the columns of all files.

    The columns are memory-mapped: they stay on disk.

    Args:
        folder: folder of the files.
        count: number of files.
        make: computes the columns of a file from its index.
        accelerator: the accelerator of this process.
        advance: callback, called with a file's index plus one when the file exists.

    Raises:
        FastdiffError: if the folder cannot be created or written, or the processes do not share it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FastdiffError(
            f"{folder}: cannot be created ({error.strerror}); set FASTDIFF_CACHE to a folder that is yours"
        ) from None
    with accelerator.main_process_first():
        forget_damaged(folder)
    paths = [folder / f"{number:06d}.safetensors" for number in range(count)]
    for number in range(accelerator.process_index, count, accelerator.num_processes):
        if not paths[number].exists():
            columns = make(number)
            try:
                store(paths[number], columns, {"sum": checksum(columns)})
            except (OSError, SafetensorError) as error:
                reason = getattr(error, "strerror", None) or first_line(error)
                raise FastdiffError(
                    f"{folder}: cannot be written ({reason}); make room, "
                    "or set FASTDIFF_CACHE to another folder"
                ) from None
        advance(number + 1)
    accelerator.wait_for_everyone()
    lost = [path for path in paths if not path.exists()]
    if lost:
        raise FastdiffError(
            f"{lost[0]}: written on another machine; set FASTDIFF_CACHE to a folder that all machines share"
        )
    return [load_file(path) for path in paths]  # memory-mapped, not read


class Shards:
    """A column (N, ...) that is stored in several tensors, and indexed by a LongTensor like a single one."""

    def __init__(self, parts: list[Tensor]) -> None:
        self.parts = parts
        self.ends = torch.tensor([len(part) for part in parts]).cumsum(0)
        self.shape = torch.Size((len(self), *parts[0].shape[1:]))

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, rows: LongTensor) -> Tensor:
        which = torch.bucketize(rows.contiguous(), self.ends, right=True)
        from_end = rows - self.ends[which]  # negative indices, from the end of the row's tensor
        places = zip(which.tolist(), from_end.tolist())
        return torch.stack([self.parts[part][place] for part, place in places])


class Lookup:
    """A column (N, ...) with many equal rows, stored as an index (N,) into a table of the distinct rows."""

    def __init__(self, table: Tensor | Shards, index: LongTensor) -> None:
        self.table = table
        self.index = index

    def __getitem__(self, rows: LongTensor) -> Tensor:
        return self.table[self.index[rows]]
