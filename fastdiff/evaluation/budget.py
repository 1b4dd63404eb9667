"""The time a sweep may take."""

import time
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ..core.files import write_json


class Budget:
    """A cell begins where it should end in time, judged by what was measured before it."""

    def __init__(self, seconds: float, out: Path) -> None:
        self.start, self.seconds, self.path = time.monotonic(), seconds, out / "left-out.json"
        self.left_out: list[str] = []
        self.judging = 0.0  # seconds a cell takes besides sampling
        self.pace: dict[str, float] = {}  # of a model: seconds an evaluation of all samples
        self.evaluations: dict[
            tuple[str, str, float], float
        ] = {}  # a step of a model's sampler, under a guidance
        self.path.unlink(missing_ok=True)

    def needed(self, cell: Any) -> float:
        """Seconds that a cell should take; 0 before anything is known."""
        pace = self.pace.get(cell.model, max(self.pace.values(), default=0))
        # A model that is told its guidance has one evaluation where others have two: theirs bound its own.
        others = [
            count for (_, *way), count in self.evaluations.items() if way == [cell.sampler, cell.guidance]
        ]
        usual = max(others, default=1 if cell.guidance == 1 else 2)
        return self.judging + pace * cell.steps * self.evaluations.get(
            (cell.model, cell.sampler, cell.guidance), usual
        )

    def spent(self, cell: Any, row: dict[str, Any], n: int) -> None:
        """What a cell took, by which the next are judged."""
        sampling = row["ms_per_image"] * n / 1000
        self.judging = max(0.0, time.monotonic() - self.began - sampling)
        self.pace[cell.model] = sampling / row["nfe"]
        self.evaluations[cell.model, cell.sampler, cell.guidance] = row["nfe"] / cell.steps

    def allows(self, what: str, needed: float, accelerator: Accelerator) -> bool:
        """Whether there is time, the same answer on every process; what there is no time for is written down."""
        self.began = time.monotonic()
        verdict = [self.began + needed <= self.start + self.seconds]
        broadcast_object_list(verdict)
        if not verdict[0] and what not in self.left_out:
            self.left_out.append(what)
            if accelerator.is_main_process:
                write_json(self.path, self.left_out)
        return verdict[0]
