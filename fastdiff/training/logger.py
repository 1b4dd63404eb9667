"""What a training writes down line by line: log.jsonl, and pace.jsonl of how fast it went."""

import json
import time
from pathlib import Path
from typing import IO, Any

from accelerate import Accelerator

from ..core.cost import peak_mb
from ..core.files import parse_json


class Log:
    """log.jsonl is a function of the step, the same however often a run was broken; pace.jsonl is of the run as it was.

    Only the main process writes; lines after the step that is gone on from are cut off.
    """

    def __init__(self, folder: Path, step: int, images: int, accelerator: Accelerator) -> None:
        self.device, self.images, self.since = accelerator.device, images, time.monotonic()
        self.files = []
        if accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            self.files = [reopened(folder / name, step) for name in ("log.jsonl", "pace.jsonl")]

    def write(self, step: int, images: int, logs: dict[str, Any], waited: float) -> dict[str, float]:
        """A line of each; returns the pace since the line before, and the peak of memory in MiB."""
        now = time.monotonic()
        seconds, self.since = now - self.since, now
        pace = {
            "images_per_s": (images - self.images) / seconds,
            "wait": waited / seconds,
            "memory_mb": peak_mb(self.device),
        }
        self.images = images
        for file, line in zip(self.files, (logs, pace)):
            file.write(json.dumps({"step": step, "images": images, **line}) + "\n")
            file.flush()
        return pace

    def close(self) -> None:
        for file in self.files:
            file.close()


def reopened(path: Path, step: int) -> IO[str]:
    """A log to append to, whole and up to a step."""
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if line.endswith("}") and parse_json(line)["step"] <= step]
    scratch = path.with_name(f".{path.name}.new")
    scratch.write_text("".join(line + "\n" for line in kept))
    scratch.replace(path)
    return path.open("a")
