"""What a training resumes from: state/<step>/ with tensors, a record and a checksum, written whole or not at all."""

import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..core.files import read_json, sha256, synced, write_json


def save_state(
    folder: Path, step: int, tensors: dict[str, Tensor], record: dict[str, Any], keep: int = 2
) -> None:
    """Write state/<step>/ under a temporary name, sync, rename; the newest `keep` stay. A failure leaves the others."""
    scratch, target = folder / f".{step:08d}.new", folder / f"{step:08d}"
    for half in folder.glob(".*.new"):  # of a process that was killed
        shutil.rmtree(half, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in tensors.items()}, scratch / "tensors.safetensors"
        )
        synced(scratch / "tensors.safetensors")
        write_json(
            scratch / "state.json", record | {"step": step, "sha256": sha256(scratch / "tensors.safetensors")}
        )
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
    """The whole states in a folder, oldest first."""
    return sorted(p for p in folder.glob("[0-9]*") if p.is_dir() and p.name.isdigit())


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest state that is whole; a damaged one is set aside with a message."""
    for state in reversed(states(folder)):
        try:
            record = read_json(state / "state.json")
            if sha256(state / "tensors.safetensors") == record["sha256"]:
                return load_file(state / "tensors.safetensors"), record
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            pass
        print(f"{state} is damaged: set aside as {state.name}.damaged, going on from the state before")
        aside = state.with_name(f"{state.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)
        state.replace(aside)
    return None
