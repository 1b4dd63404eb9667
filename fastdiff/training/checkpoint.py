"""Checkpoints that a training resumes from: folders state/<step>/ with tensors, a record and a checksum."""

import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..core.files import read_json, sha256, synced, write_json

TENSORS = "tensors.safetensors"
RECORD = "state.json"


def save_state(
    folder: Path, step: int, tensors: dict[str, Tensor], record: dict[str, Any], keep: int = 2
) -> None:
    """Write state/<step>/ atomically: under a temporary name, which is renamed at the end.

    Args:
        folder: the folder of all states.
        step: number of steps that are done.
        tensors: all tensors that change during training, by name.
        record: plain data that is stored as JSON.
        keep: number of newest states that stay. If writing fails, the others stay as they were.
    """
    scratch = folder / f".{step:08d}.new"
    target = folder / f"{step:08d}"
    for unfinished in folder.glob(".*.new"):  # left by a process that was killed
        shutil.rmtree(unfinished, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        on_host = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        save_file(on_host, scratch / TENSORS)
        synced(scratch / TENSORS)
        write_json(scratch / RECORD, record | {"step": step, "sha256": sha256(scratch / TENSORS)})
        synced(scratch)
        shutil.rmtree(target, ignore_errors=True)
        scratch.replace(target)
        synced(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    for old in states(folder)[:-keep]:
        shutil.rmtree(old)


def states(folder: Path) -> list[Path]:
    """Return the complete states in a folder, oldest first."""
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir() and path.name.isdigit())


def newest_step(folder: Path) -> int | None:
    """Return the step of the newest state in a folder; None without one."""
    found = states(folder)
    return int(found[-1].name) if found else None


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Load the tensors and the record of the newest undamaged state; return None without one.

    A damaged state is renamed to <step>.damaged, with a message.
    """
    for state in reversed(states(folder)):
        try:
            record = read_json(state / RECORD)
            if sha256(state / TENSORS) == record["sha256"]:
                return load_file(state / TENSORS), record
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            pass
        print(f"{state} is damaged: renamed to {state.name}.damaged, resuming from the state before it")
        aside = state.with_name(f"{state.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)
        state.replace(aside)
    return None
