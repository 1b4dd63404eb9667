"""The saved states that a training resumes from: state/<step>/ with tensors, a record and a checksum."""

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
    """Write state/<step>/ whole or not at all: under a temporary name, which is renamed at the end.

    Args:
        folder: the folder of all states.
        step: steps that are done.
        tensors: all that changes during training.
        record: plain data.
        keep: states that stay, the newest. If writing fails, the others stay as they were.
    """
    scratch = folder / f".{step:08d}.new"
    target = folder / f"{step:08d}"
    for unfinished in folder.glob(".*.new"):  # of a process that was killed
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
    """Return the whole states in a folder, oldest first."""
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir() and path.name.isdigit())


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Load the tensors and the record of the newest undamaged state; None if there is none.

    A damaged one is renamed to <step>.damaged, with a message.
    """
    for state in reversed(states(folder)):
        try:
            record = read_json(state / RECORD)
            if sha256(state / TENSORS) == record["sha256"]:
                return load_file(state / TENSORS), record
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            pass
        print(f"{state} is damaged: set aside as {state.name}.damaged, going on from the state before")
        aside = state.with_name(f"{state.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)
        state.replace(aside)
    return None
