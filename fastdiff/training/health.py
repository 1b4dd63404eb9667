"""A training's health: which of its figures were not finite, when that ends it, and whether its samples collapsed."""

import math
from pathlib import Path
from statistics import median

import torch
from accelerate import Accelerator
from torch import Tensor

from ..core.errors import FastdiffError
from ..core.files import write_json
from ..data.registry import Dataset, Readable, order

FATAL = ("loss", "grad")  # figures that end a training where they are not finite
NEVER = 1 << 62  # a step that does not come
NAMED = 8  # examples that a complaint names
LATEST, COVERED = 10, 0.5  # shares of the data that samples cover: so many count, and less is a collapse
HALVED = 40  # updates that a scaler may skip in a row: its scale begins at 2^16


class Health:
    """Watches figures without waiting for the device, unless bad steps may be skipped: then each update is asked for.

    skips: so many steps in a row may be skipped. skipped, row: all steps skipped, and those in a row by now.
    coverages: the latest shares of the data that the log says to be covered, in the second half of a training.
    """

    def __init__(
        self, folder: Path, dataset: Readable, seed: int, skips: int, accelerator: Accelerator
    ) -> None:
        self.folder, self.dataset, self.seed, self.skips, self.accelerator = (
            folder,
            dataset,
            seed,
            skips,
            accelerator,
        )
        self.skipped = self.row = self.halved = 0
        self.first: dict[tuple[str, ...], Tensor] = {}  # of figures: at which step each was first not finite
        self.coverages: list[float] = []
        self.seen: dict[
            int, tuple[int, int]
        ] = {}  # of the steps not checked yet: images seen before and after

    def may_update(self, figures: dict[str, Tensor]) -> bool:
        """Whether loss and gradients let the weights be updated, on every process alike."""
        if not self.skips:
            return True
        bad = torch.stack([~value.isfinite().all() for value in self.told(figures).values()]).any().float()
        return float(self.accelerator.reduce(bad.to(self.accelerator.device), "sum")) == 0

    def told(self, figures: dict[str, Tensor]) -> dict[str, Tensor]:
        """Figures without the gradients that a scaler looks after, as it skips those that are not finite by itself.

        And without the coverage, which is not to be had of few samples or of no data.
        """
        apart = ("coverage", "grad") if self.accelerator.scaler is not None else ("coverage",)
        return {name: value for name, value in figures.items() if not name.endswith(apart)}

    def watch(self, figures: dict[str, Tensor], step: int) -> None:
        """Note which figures are not finite at this step."""
        figures = self.told(figures)
        values = torch.hstack(
            [value.to(self.accelerator.device, torch.float32) for value in figures.values()]
        )
        names = tuple(figures)
        first = self.first.get(names, torch.full_like(values, NEVER, dtype=torch.int64))
        self.first[names] = torch.where(values.isfinite(), first, first.clamp(max=step))

    def scaled(self, scaler: torch.amp.GradScaler | None) -> bool:
        """Let a scaler of fp16 gradients go on; False where it skipped the update."""
        if scaler is None:
            return True
        before = scaler.get_scale()
        scaler.update()
        self.halved = self.halved + 1 if scaler.get_scale() < before else 0
        return self.halved == 0

    def skip(self, bad: list[str], step: int) -> None:
        """A step whose updates were left out for these figures, if for any; too many in a row end the training."""
        self.row = self.row + 1 if bad else 0
        self.skipped += bool(bad)
        if self.row > self.skips:
            self.stop(
                ", ".join(sorted(set(bad))),
                step,
                f", the {self.row}. step in a row (train.max_skips = {self.skips})",
            )

    def check(self) -> None:
        """A loss or a gradient that was not finite ends the training; the complaint names all that was not by then."""
        at: dict[str, int] = {}
        for names, steps in self.first.items():
            at |= {
                name: min(step, at.get(name, NEVER)) for name, step in zip(names, steps.tolist(), strict=True)
            }
        step = min((first for name, first in at.items() if name.rpartition("/")[2] in FATAL), default=NEVER)
        if step < NEVER:
            self.stop(", ".join(name for name, first in at.items() if first <= step), step)
        if self.halved > HALVED:
            self.stop(
                "grad",
                max(self.seen),
                f", as in the {HALVED} before, however small fp16's scale (choose bf16)",
            )
        self.seen.clear()

    def cover(self, line: dict[str, float | None], late: bool) -> None:
        """Note the coverage in a line of the log, where it has one; late: in the second half of a training."""
        if late and line.get("coverage") is not None:
            self.coverages = [*self.coverages, line["coverage"]][-LATEST:]

    @property
    def collapsed(self) -> float | None:
        """The share of the data that samples cover, the median of the latest, where it is too small."""
        share = median(self.coverages) if self.coverages else 1.0
        return share if share < COVERED else None

    def stop(self, bad: str, step: int, more: str = "") -> None:
        """Complain, and keep the indices of the step's examples beside the log."""
        kept = (
            f"the last good state is kept in {state}; " if (state := self.folder / "state").exists() else ""
        )
        start, end = self.seen[step]
        record, named = {"step": step, "positions": [start, end]}, f"positions {start} to {end - 1}"
        if isinstance(self.dataset, Dataset):
            record["examples"] = order(len(self.dataset), self.seed, start, end - start).tolist()
            some = record["examples"][:NAMED]
            named = f"examples {', '.join(map(str, some))}" + (", ..." if end - start > NAMED else "")
        if self.accelerator.is_main_process:
            write_json(self.folder / "bad-batch.json", record)
        raise FastdiffError(
            f"{bad}: not finite at step {step}{more}: training stopped, {kept}its batch was {named} "
            "(bad-batch.json); run with a lower train.lr and another --out, or go on with train.max_skips"
        )


def plain(figures: dict[str, Tensor]) -> dict[str, float | None]:
    """Figures as a log has them: None where not finite."""
    values = {name: float(value) for name, value in figures.items()}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
