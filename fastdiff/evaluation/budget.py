"""The time a sweep may take."""

import time
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ..core.files import write_json
from .config import Cell


class Budget:
    """A clock that lets a cell start if it should end in time, as estimated from the cells before it.

    Args:
        seconds: the time that all cells may take together.
        out: folder of left-out.json, the list of cells that there was no time for.
    """

    def __init__(self, seconds: float, out: Path) -> None:
        self.start = time.monotonic()
        self.began = self.start  # of the cell that is being measured
        self.seconds = seconds
        self.path = out / "left-out.json"
        self.left_out: list[str] = []
        self.judging = 0.0  # seconds per cell besides sampling
        self.pace: dict[str, float] = {}  # model -> seconds of one network evaluation of all samples
        # (model, sampler, guidance) -> network evaluations per step
        self.evaluations: dict[tuple[str, str, float], float] = {}
        self.path.unlink(missing_ok=True)

    def needed(self, cell: Cell) -> float:
        """Return the seconds that a cell should take; 0 before anything is known."""
        pace = self.pace.get(cell.model, max(self.pace.values(), default=0))
        # A model that takes a guidance weight has one evaluation where others have two: theirs bound its own.
        others = [
            count
            for (_, sampler, guidance), count in self.evaluations.items()
            if (sampler, guidance) == (cell.sampler, cell.guidance)
        ]
        usual = max(others, default=1 if cell.guidance == 1 else 2)
        per_step = self.evaluations.get((cell.model, cell.sampler, cell.guidance), usual)
        return self.judging + pace * cell.steps * per_step

    def spent(self, cell: Cell, row: dict[str, Any], n: int) -> None:
        """Record the time that a cell of n samples took, for the estimates of the next ones."""
        sampling = row["ms_per_image"] * n / 1000
        self.judging = max(0.0, time.monotonic() - self.began - sampling)
        self.pace[cell.model] = sampling / row["nfe"]
        self.evaluations[cell.model, cell.sampler, cell.guidance] = row["nfe"] / cell.steps

    def allows(self, what: str, needed: float, accelerator: Accelerator) -> bool:
        """Return whether there is time for some work, the same answer on every process.

        Args:
            what: the work's name, for the list of what was left out.
            needed: seconds that it should take.
            accelerator: of this process.
        """
        self.began = time.monotonic()
        verdict = [self.began + needed <= self.start + self.seconds]
        broadcast_object_list(verdict)
        if not verdict[0] and what not in self.left_out:
            self.left_out.append(what)
            if accelerator.is_main_process:
                write_json(self.path, self.left_out)
        return verdict[0]
