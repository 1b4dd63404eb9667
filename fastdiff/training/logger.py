"""The files that a training writes line by line: log.jsonl with its figures, pace.jsonl with its speed."""

import json
import time
from pathlib import Path
from typing import IO, Any

from accelerate import Accelerator

from ..core.cost import peak_mb
from ..core.files import atomic_write, parse_json


class Log:
    """The two logs of a training; only the main process writes.

    log.jsonl depends on the step only, however often a run was interrupted; pace.jsonl depends on the
    machine too. Lines after the step that is resumed from are removed.

    Args:
        folder: folder of the logs.
        step: step that is resumed from.
        images: number of images seen by then.
        accelerator: accelerator of this process.
    """

    def __init__(self, folder: Path, step: int, images: int, accelerator: Accelerator) -> None:
        self.device = accelerator.device
        self.images = images
        self.since = time.monotonic()
        self.files: list[IO[str]] = []
        if accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            self.files = [reopened(folder / name, step) for name in ("log.jsonl", "pace.jsonl")]

    def write(self, step: int, images: int, logs: dict[str, Any], waited: float) -> dict[str, float]:
        """Append a line to each log.

        Args:
            step: number of steps that are done.
            images: number of images seen by now.
            logs: figures of the line of log.jsonl.
            waited: seconds spent waiting for data since the previous line.

        Returns:
            The line of pace.jsonl: `images_per_s` and `wait`, the fraction of the time spent waiting for
            data, both since the previous line, and `memory_mb`, the peak memory in MiB.
        """
        now = time.monotonic()
        seconds = now - self.since
        pace = {
            "images_per_s": (images - self.images) / seconds,
            "wait": waited / seconds,
            "memory_mb": peak_mb(self.device),
        }
        self.since = now
        self.images = images
        for file, line in zip(self.files, (logs, pace)):
            file.write(json.dumps({"step": step, "images": images, **line}) + "\n")
            file.flush()
        return pace

    def close(self) -> None:
        """Close the files."""
        for file in self.files:
            file.close()


def reopened(path: Path, step: int) -> IO[str]:
    """Open a log for appending, after removing broken lines and those after a step."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if line.endswith("}") and parse_json(line)["step"] <= step]
    with atomic_write(path) as scratch:
        scratch.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    return path.open("a", encoding="utf-8")
