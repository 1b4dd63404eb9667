"""A model from the state of a training: STAGE@STEP, the running average at a step whose state is kept.

A stage's folder state/ has a folder for each kept step, and the folder model/, the student before the first
step. The average at a step is exported into the step's folder when it is first used.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.files import expanded, read_json, sha256
from .metadata import METADATA_FILE, read_metadata

FIRST_MODEL = "model"  # folder of the student before the first step
KEPT_NOTES = ("method", "class_names", "sources", "licences", "card", "safeguards", "plugins")
AVERAGE = "ema."  # prefix of the names of the average's tensors


def state_of(path: str | Path) -> tuple[Path, int] | None:
    """Return the stage's folder and the step for STAGE@STEP; None for any other path."""
    stage, mark, step = str(path).rpartition("@")
    if not mark or not step.isdecimal() or expanded(path).exists():
        return None
    folder = expanded(stage)
    return (folder, int(step)) if (folder / "state").is_dir() else None


def exported_state(path: str | Path, open_model: Callable[[Path], Denoiser]) -> str | Path:
    """Return the folder of a model at a step of its training, which is exported on the first call.

    Args:
        path: STAGE@STEP; any other path is returned unchanged.
        open_model: function that loads the model of a folder.

    Raises:
        FastdiffError: if the state of that step is not kept, or damaged, or if the stage trains an adapter.
    """
    if (found := state_of(path)) is None:
        return path
    stage, step = found
    state = stage / "state" / f"{step:08d}"
    if not state.is_dir():
        kept = sorted(int(other.name) for other in state.parent.glob("[0-9]*") if other.name.isdecimal())
        raise FastdiffError(
            f"{path}: expected a step whose state is kept, {', '.join(map(str, kept)) or 'but none is'}; "
            "train.keep_last keeps more of them"
        )
    if not (state / "model" / METADATA_FILE).exists():
        export_state(path, state, open_model)
    return state / "model"


def export_state(path: str | Path, state: Path, open_model: Callable[[Path], Denoiser]) -> None:
    """Export the average of a state into its folder model/; see `exported_state`."""
    from .export.model import export  # imported late: loading a model needs no export

    before = state.parent / FIRST_MODEL
    notes = read_metadata(before)
    if notes is None:
        raise FastdiffError(
            f"{path}: the stage trains an adapter, or was trained by an earlier version, so its states "
            "cannot be opened: use the stage itself"
        )
    try:
        tensors = load_file(state / "tensors.safetensors")
        whole = sha256(state / "tensors.safetensors") == read_json(state / "state.json")["sha256"]
    except (OSError, ValueError, KeyError, SafetensorError):
        whole = False
    if not whole:
        raise FastdiffError(f"{path}: the state is damaged: choose another step")
    model = open_model(before)
    average = {
        name.removeprefix(AVERAGE): tensor for name, tensor in tensors.items() if name.startswith(AVERAGE)
    }
    model.load_state_dict(average)
    scratch = state / f".model-{os.getpid()}"
    scratch.mkdir()
    export(
        model,
        scratch,
        {key: notes[key] for key in KEPT_NOTES if key in notes},
        name=f"{state.parents[1].name}@{int(state.name)}",
    )
    try:
        scratch.replace(state / "model")
    except OSError:  # another process was faster
        shutil.rmtree(scratch)
