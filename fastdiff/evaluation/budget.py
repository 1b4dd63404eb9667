"""The time budget of a sweep."""

import time
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ..core.files import write_json
from .config import Cell


class Budget:
    """A time budget that allows a cell if its estimated end lies within it; earlier cells give the estimate.

    Args:
        seconds: time in seconds that all cells may take together.
        out: folder of left-out.json, the list of cells that were skipped for lack of time.
        n: number of samples of a cell that has none of its own.
    """

    def __init__(self, seconds: float, out: Path, n: int) -> None:
        self.start = time.monotonic()
        self.began = self.start  # start of the cell that is being measured
        self.seconds = seconds
        self.path = out / "left-out.json"
        self.left_out: list[str] = []
        self.judging = 0.0  # seconds per cell in addition to sampling
        self.n = n
        self.pace: dict[str, float] = {}  # model -> seconds of one network evaluation of one sample
        # (model, sampler, guidance) -> network evaluations per step
        self.evaluations: dict[tuple[str, str, float], float] = {}
        self.path.unlink(missing_ok=True)

    def needed(self, cell: Cell) -> float:
        """Return the estimated seconds of a cell; 0 before the first cell has been measured."""
        pace = self.pace.get(cell.model, max(self.pace.values(), default=0))
        # A model that takes a guidance weight needs one evaluation per step, others need two: an upper bound.
        others = [
            count
            for (_, sampler, guidance), count in self.evaluations.items()
            if (sampler, guidance) == (cell.sampler, cell.guidance)
        ]
        usual = max(others, default=1 if cell.guidance == 1 else 2)
        per_step = self.evaluations.get((cell.model, cell.sampler, cell.guidance), usual)
        return self.judging + pace * (cell.n or self.n) * cell.steps * per_step

    def spent(self, cell: Cell, row: dict[str, Any]) -> None:
        """Record the time that a cell took, for the estimates of later cells."""
        per_image = row["ms_per_image"] / 1000
        sampling = per_image * (cell.n or self.n)
        self.judging = max(0.0, time.monotonic() - self.began - sampling)
        self.pace[cell.model] = per_image / row["nfe"]
        self.evaluations[cell.model, cell.sampler, cell.guidance] = row["nfe"] / cell.steps

    def allows(self, what: str, needed: float, accelerator: Accelerator) -> bool:
        """Return whether there is time for a piece of work; every process returns the same answer.

        Args:
            what: name of the work, for left-out.json.
            needed: estimated seconds of the work.
            accelerator: accelerator of this process.
        """
        self.began = time.monotonic()
        verdict = [self.began + needed <= self.start + self.seconds]
        broadcast_object_list(verdict)
        if not verdict[0] and what not in self.left_out:
            self.left_out.append(what)
            if accelerator.is_main_process:
                write_json(self.path, self.left_out)
        return verdict[0]
