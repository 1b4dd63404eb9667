"""The provenance of a row: device, processes, versions, commit, and the training cost of its model."""

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from ..core.plugins import plugin_hashes

PACKAGES = ("fastdiff", "torch", "diffusers", "torch-fidelity")


def provenance(notes: dict[str, Any], accelerator: Accelerator) -> dict[str, Any]:
    """Return the fields of a row that state its origin; see the table in rows.py.

    Args:
        notes: metadata of the model, as in fastdiff.json.
        accelerator: accelerator of this process.
    """
    cost = notes.get("cost", {})
    plugins = plugin_hashes()
    return {
        "method": notes.get("method"),
        "params": notes.get("params"),
        "ema": notes.get("ema"),
        "train_images": cost.get("images"),
        "train_seconds": cost.get("seconds"),
        "teacher_nfe": cost.get("teacher_nfe"),
        "device": device_name(accelerator.device),
        "processes": accelerator.num_processes,
        "versions": {package: version(package) for package in PACKAGES},
        "commit": commit(),
        **({"plugins": plugins} if plugins else {}),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or the architecture of the CPU and its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


@cache
def commit() -> str | None:
    """Return the commit of the source tree, with + for uncommitted changes; None if git does not track it."""
    source = Path(__file__)
    package = source.parents[1]
    try:
        _git(package, "ls-files", "--error-unmatch", str(source))
        head = _git(package, "rev-parse", "--short=10", "HEAD")
        changes = _git(package, "status", "--porcelain", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}+" if changes else head


def _git(folder: Path, *words: str) -> str:
    """Return the output of a git command in a folder."""
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()
