"""Tensors made part by part: each part a checksummed safetensors file, and all of them read as one."""

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

from ..core.errors import FastdiffError
from ..core.files import atomic_write, parse_json

Columns = dict[str, Tensor]


def store(path: Path, columns: Columns, notes: dict[str, Any]) -> None:
    """Write columns and notes atomically; another run may write the same file at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    on_host = {name: column.cpu().contiguous() for name, column in columns.items()}
    with atomic_write(path, unique=True) as scratch:
        save_file(on_host, scratch, {name: json.dumps(note) for name, note in notes.items()})


def checksum(columns: Columns) -> int:
    """Return the CRC-32 of the columns' bytes."""
    columns_bytes = [columns[name].cpu().contiguous().numpy().tobytes() for name in sorted(columns)]
    return zlib.crc32(b"".join(columns_bytes))


def read_notes(path: Path) -> dict[str, Any]:
    """Read the notes in a file of columns."""
    with safe_open(path, "pt") as file:
        return {name: parse_json(value) for name, value in file.metadata().items()}


def forget_damaged(folder: Path) -> None:
    """Remove the parts that do not match their checksums, so that they are made again."""
    for part in sorted(folder.glob("[0-9]*.safetensors")):
        try:
            if read_notes(part)["sum"] == checksum(load_file(part)):
                continue
        except (SafetensorError, OSError, ValueError, KeyError, AttributeError):
            pass
        print(f"{part} is damaged: made again")
        part.unlink(missing_ok=True)


def fill(
    folder: Path,
    count: int,
    make: Callable[[int], Columns],
    accelerator: Accelerator,
    advance: Callable[[int], None],
) -> list[Columns]:
    """Make the parts that are missing, each on one process, and return the columns of all; they stay on disk.

    Args:
        folder: of the parts.
        count: number of parts.
        make: makes the part of a number.
        accelerator: of this process.
        advance: called with the number of a part and one, when it is there.

    Raises:
        FastdiffError: if the folder cannot be made, or the processes do not share it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FastdiffError(
            f"{folder} cannot be made ({error.strerror}): set FASTDIFF_CACHE to a folder of yours"
        ) from None
    with accelerator.main_process_first():
        forget_damaged(folder)
    paths = [folder / f"{number:06d}.safetensors" for number in range(count)]
    for number in range(accelerator.process_index, count, accelerator.num_processes):
        if not paths[number].exists():
            columns = make(number)
            store(paths[number], columns, {"sum": checksum(columns)})
        advance(number + 1)
    accelerator.wait_for_everyone()
    lost = [path for path in paths if not path.exists()]
    if lost:
        raise FastdiffError(
            f"{lost[0]} was made on another machine: set FASTDIFF_CACHE to a folder that all of them share"
        )
    return [load_file(path) for path in paths]  # mapped into memory, not read


class Shards:
    """The rows (N, ...) of a column that is stored in parts, indexed by a LongTensor as one tensor is."""

    def __init__(self, parts: list[Tensor]) -> None:
        self.parts = parts
        self.ends = torch.tensor([len(part) for part in parts]).cumsum(0)
        self.shape = torch.Size((len(self), *parts[0].shape[1:]))

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, rows: LongTensor) -> Tensor:
        which = torch.bucketize(rows.contiguous(), self.ends, right=True)
        from_end = rows - self.ends[which]  # negative: counted from the end of their part
        places = zip(which.tolist(), from_end.tolist())
        return torch.stack([self.parts[part][place] for part, place in places])


class Lookup:
    """Rows (N, ...), many of them equal, as an index (N,) into a table of the different ones."""

    def __init__(self, table: Tensor | Shards, index: LongTensor) -> None:
        self.table = table
        self.index = index

    def __getitem__(self, rows: LongTensor) -> Tensor:
        return self.table[self.index[rows]]
