"""The health of a training: figures that are not finite, a collapse, a discriminator at chance."""

import math
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from ..core.errors import FastdiffError
from ..core.files import write_json
from ..data.dataset import Dataset, Readable
from ..data.order import order
from .method import Figures

FATAL_FIGURES = ("loss", "grad")  # figures that end a training if they are not finite
NEVER_STEP = 1 << 62  # the number of a step that is never reached
MAX_NAMED_EXAMPLES = 8  # examples that an error lists
LINES_KEPT = 10  # newest lines of the log over which medians are taken
MIN_COVERAGE = 0.5  # fraction of the data; a lower median coverage is a collapse
MIN_AUC = 0.55  # a discriminator with a lower median area under the ROC is at chance
AUC = "discriminator_auc"  # end of that figure's name in a log line
MAX_SCALE_DROPS = 40  # consecutive updates that a scaler may skip; its scale begins at 2^16


class Health:
    """A monitor of the figures of a training, which ends it if they are not finite.

    It does not wait for the device, unless max_skips is positive: then it does before each update.

    Args:
        folder: folder in which the indices of a bad step's examples are written.
        dataset: the data; errors list the examples of a bad step.
        seed: seed of the order of examples.
        max_skips: number of consecutive steps that may be skipped because a loss or gradient is not finite.
        accelerator: accelerator of this process.

    Attributes:
        skipped: number of steps skipped so far.
        consecutive_skips: number of steps skipped since the last update.
        scale_drops: number of consecutive updates that a scaler of fp16 gradients skipped.
        coverages: newest coverages (fractions of the data that samples cover), from a training's second half.
        aucs: newest areas under the ROC of the discriminator, from a training's second half.
        positions: number of images seen before and after each step that has not been checked yet.
    """

    def __init__(
        self, folder: Path, dataset: Readable, seed: int, max_skips: int, accelerator: Accelerator
    ) -> None:
        self.folder = folder
        self.dataset = dataset
        self.seed = seed
        self.max_skips = max_skips
        self.accelerator = accelerator
        self.skipped = 0
        self.consecutive_skips = 0
        self.scale_drops = 0
        self.coverages: list[float] = []
        self.aucs: list[float] = []
        self.positions: dict[int, tuple[int, int]] = {}
        # For figures logged together, by their names: the first step (n,) at which each was not finite.
        self.first_bad: dict[tuple[str, ...], Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state that is stored in a checkpoint, as plain data."""
        return {
            "skipped": self.skipped,
            "row": self.consecutive_skips,
            "coverages": self.coverages,
            "aucs": self.aucs,
        }

    def load_state_dict(self, record: dict[str, Any]) -> None:
        """Load a state that `state_dict` returned; states of earlier versions lack some keys."""
        self.skipped = record.get("skipped", 0)
        self.consecutive_skips = record.get("row", 0)
        self.coverages = record.get("coverages", [])
        self.aucs = record.get("aucs", [])

    def may_update(self, figures: Figures) -> bool:
        """Return whether an update may be made, the same on every process: all finite or no skips allowed."""
        if not self.max_skips:
            return True
        bad = torch.stack([~value.isfinite().all() for value in self.checked_metrics(figures).values()])
        count = self.accelerator.reduce(bad.any().float().to(self.accelerator.device), "sum")
        return float(count) == 0

    def checked_metrics(self, figures: Figures) -> Figures:
        """Return the figures that must be finite.

        The coverage is left out, which is NaN for few samples or without data; so are gradients under a
        scaler, which skips updates with gradients that are not finite.
        """
        unchecked = ("coverage", "grad") if self.accelerator.scaler is not None else ("coverage",)
        return {name: value for name, value in figures.items() if not name.endswith(unchecked)}

    def not_finite(self, figures: Figures) -> list[str]:
        """Return the names of the figures that must be finite and are not."""
        checked = self.checked_metrics(figures)
        return [name for name, value in checked.items() if not value.isfinite().all()]

    def watch(self, figures: Figures, step: int) -> None:
        """Record which figures are not finite at this step, without waiting for the device."""
        checked = self.checked_metrics(figures)
        names = tuple(checked)
        values = torch.hstack(
            [value.to(self.accelerator.device, torch.float32) for value in checked.values()]
        )
        never = torch.full_like(values, NEVER_STEP, dtype=torch.int64)
        first = self.first_bad.get(names, never)
        self.first_bad[names] = torch.where(values.isfinite(), first, first.clamp(max=step))

    def update_scaler(self, scaler: torch.amp.GradScaler | None) -> bool:
        """Update the scale of a scaler of fp16 gradients; return False if it skipped the update."""
        if scaler is None:
            return True
        before = scaler.get_scale()
        scaler.update()
        dropped = scaler.get_scale() < before
        self.scale_drops = self.scale_drops + 1 if dropped else 0
        return not dropped

    def count_skips(self, bad: list[str], step: int) -> None:
        """Count a step whose updates were skipped.

        Args:
            bad: names of the figures that were not finite; an empty list if the step was not skipped.
            step: number of the step.

        Raises:
            FastdiffError: after more than max_skips consecutive skipped steps.
        """
        if bad:
            self.skipped += 1
            self.consecutive_skips += 1
        else:
            self.consecutive_skips = 0
        if self.consecutive_skips > self.max_skips:
            self.stop(
                ", ".join(sorted(set(bad))),
                step,
                f", the {self.consecutive_skips}. step in a row (train.max_skips = {self.max_skips})",
            )

    def check(self) -> None:
        """Check that losses and gradients were finite at all steps since the last check.

        Raises:
            FastdiffError: if one was not; the error names every figure that was not finite by that step.
        """
        first_bad: dict[str, int] = {}
        for names, steps in self.first_bad.items():
            for name, step in zip(names, steps.tolist(), strict=True):
                first_bad[name] = min(step, first_bad.get(name, NEVER_STEP))
        fatal = [step for name, step in first_bad.items() if name.rpartition("/")[2] in FATAL_FIGURES]
        step = min(fatal, default=NEVER_STEP)
        if step < NEVER_STEP:
            self.stop(", ".join(name for name, first in first_bad.items() if first <= step), step)
        if self.scale_drops > MAX_SCALE_DROPS:
            self.stop(
                "grad",
                max(self.positions),
                f", as in the {MAX_SCALE_DROPS} before, however small fp16's scale (choose bf16)",
            )
        self.positions.clear()

    def record(self, line: dict[str, float | None], second_half: bool) -> None:
        """Record the coverage and the discriminator's figure of a log line from a training's second half."""
        if not second_half:
            return
        aucs = [value for name, value in line.items() if name.endswith(AUC)]
        for kept, values in ((self.coverages, [line.get("coverage")]), (self.aucs, aucs)):
            kept += [value for value in values if value is not None]
            del kept[:-LINES_KEPT]

    @property
    def collapsed(self) -> float | None:
        """The median of the newest coverages if it is below MIN_COVERAGE, else None."""
        coverage = median(self.coverages) if self.coverages else 1.0
        return coverage if coverage < MIN_COVERAGE else None

    @property
    def chance_auc(self) -> float | None:
        """The median of the newest areas under the discriminator's ROC if it is below MIN_AUC, else None."""
        auc = median(self.aucs) if self.aucs else 1.0
        return auc if auc < MIN_AUC else None

    def stop(self, bad: str, step: int, more: str = "") -> None:
        """Write the indices of a bad step's examples to bad-batch.json, and raise FastdiffError.

        Args:
            bad: names of the figures that are not finite, for the error.
            step: number of the step.
            more: further words for the error, after the step.
        """
        start, end = self.positions[step]
        record: dict[str, Any] = {"step": step, "positions": [start, end]}
        named = f"positions {start} to {end - 1}"
        if isinstance(self.dataset, Dataset):
            examples = order(len(self.dataset), self.seed, start, end - start).tolist()
            record["examples"] = examples
            named = f"examples {', '.join(map(str, examples[:MAX_NAMED_EXAMPLES]))}"
            if len(examples) > MAX_NAMED_EXAMPLES:
                named += ", ..."
        if self.accelerator.is_main_process:
            write_json(self.folder / "bad-batch.json", record)
        state = self.folder / "state"
        kept = f"the last good state is kept in {state}; " if state.exists() else ""
        raise FastdiffError(
            f"{bad}: not finite at step {step}{more}: training stopped, {kept}its batch was {named} "
            "(bad-batch.json); run with a lower train.lr and another --out, or resume with train.max_skips"
        )


def loggable(figures: Figures) -> dict[str, float | None]:
    """Return figures as numbers, with None for those that are not finite."""
    values = {name: float(value) for name, value in figures.items()}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
