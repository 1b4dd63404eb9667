"""Tensors that are made part by part: each a summed safetensors file, whole or not there, and all of them read as one."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import LongTensor, Tensor

from ..core.errors import FastdiffError
from ..core.files import parse_json, synced

Columns = dict[str, Tensor]


def store(path: Path, columns: Columns, notes: dict[str, Any]) -> None:
    """Written to a temporary name, synced and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid4().hex}")  # another run may write the same
    save_file(
        {name: column.cpu().contiguous() for name, column in columns.items()},
        scratch,
        {name: json.dumps(note) for name, note in notes.items()},
    )
    synced(scratch)
    scratch.replace(path)


def checksum(columns: Columns) -> int:
    """Of the columns' bytes."""
    return zlib.crc32(
        b"".join(columns[name].cpu().contiguous().numpy().tobytes() for name in sorted(columns))
    )


def said(path: Path) -> dict[str, Any]:
    """What a file of columns says of itself."""
    with safe_open(path, "pt") as file:
        return {name: parse_json(value) for name, value in file.metadata().items()}


def forget_damaged(folder: Path) -> None:
    """Remove parts that are not as they were written; they are made again."""
    for part in sorted(folder.glob("[0-9]*.safetensors")):
        try:
            if said(part)["sum"] == checksum(load_file(part)):
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
    """Parts 0 to count - 1, those that are not in the folder made first, each by one process. Their columns stay on disk."""
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
    if lost := [path for path in paths if not path.exists()]:
        raise FastdiffError(
            f"{lost[0]} was made on another machine: set FASTDIFF_CACHE to a folder that all of them share"
        )
    return [load_file(path) for path in paths]  # mapped into memory, not read


class Shards:
    """Rows (N, ...) of a column that lies in parts, indexed as one tensor is by a LongTensor."""

    def __init__(self, parts: list[Tensor]) -> None:
        self.parts, self.ends = parts, torch.tensor([len(part) for part in parts]).cumsum(0)
        self.shape = torch.Size((len(self), *parts[0].shape[1:]))

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, rows: LongTensor) -> Tensor:
        which = torch.bucketize(rows.contiguous(), self.ends, right=True)
        places = zip(which.tolist(), (rows - self.ends[which]).tolist())  # counted from a part's end
        return torch.stack([self.parts[part][place] for part, place in places])


class Lookup:
    """Rows (N, ...) of which many are alike: index (N,) into a table of the different ones."""

    def __init__(self, table: Tensor | Shards, index: LongTensor) -> None:
        self.table, self.index = table, index

    def __getitem__(self, rows: LongTensor) -> Tensor:
        return self.table[self.index[rows]]
