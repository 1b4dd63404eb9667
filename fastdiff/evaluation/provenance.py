"""What made a row: device, processes, versions, commit, and what its model cost to train."""

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator


def provenance(notes: dict[str, Any], accelerator: Accelerator) -> dict[str, Any]:
    """What made a row; notes: what a model's fastdiff.json says of its training."""
    cost = notes.get("cost", {})
    gpu = accelerator.device.type == "cuda"
    return {
        "method": notes.get("method"),
        "params": notes.get("params"),
        "ema": notes.get("ema"),
        "train_images": cost.get("images"),
        "train_seconds": cost.get("seconds"),
        "teacher_nfe": cost.get("teacher_nfe"),
        "device": torch.cuda.get_device_name()
        if gpu
        else f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        "processes": accelerator.num_processes,
        "versions": {p: version(p) for p in ("fastdiff", "torch", "diffusers", "torch-fidelity")},
        "commit": commit(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def commit() -> str | None:
    """The source tree's commit, with + where the package has changes; None where git does not track the package."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parents[1])]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", str(here)], capture_output=True, check=True)
        head, changes = (
            subprocess.run([*git, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "--short=10", "HEAD"), ("status", "--porcelain", "--", "."))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changes else "")
