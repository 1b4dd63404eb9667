"""Helpers for commands that a launcher starts as several processes."""

import os
import sys


def is_main_process() -> bool:
    """Return whether this process is the one that prints, by the launcher's RANK."""
    return int(os.environ.get("RANK", 0)) == 0


def destroy_process_group() -> None:
    """Destroy the process group, if any: its background threads may abort the interpreter as it exits."""
    distributed = sys.modules.get("torch.distributed")
    if distributed and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
