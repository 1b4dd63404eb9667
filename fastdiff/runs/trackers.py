"""Experiment trackers of accelerate: a run's settings, figures, sheets of samples and benchmark rows."""

from typing import Any

import numpy as np
from accelerate import Accelerator
from PIL import Image

from ..evaluation.metric_names import is_metric
from .recipe import Recipe

Row = dict[str, Any]


def start(accelerator: Accelerator, recipe: Recipe) -> None:
    """Start the recipe's trackers, with all settings of the recipe as their configuration."""
    accelerator.init_trackers(recipe.name, config=flat(recipe.source) if recipe.trackers else None)


def flat(source: dict[str, Any], prefix: str = "") -> dict[str, str | float | bool]:
    """Return nested settings as {"stages.teacher.train.lr": 0.001, ...}; lists and None become text."""
    settings: dict[str, str | float | bool] = {}
    for key, value in source.items():
        if isinstance(value, dict):
            settings |= flat(value, f"{prefix}{key}.")
        else:
            settings[prefix + key] = value if isinstance(value, str | float | int) else str(value)
    return settings


def log_sheet(accelerator: Accelerator, stage: str, sheet: Image.Image, step: int) -> None:
    """Send a sheet of a stage's samples to the trackers that take images."""
    name = f"{stage}/samples"
    for tracker in accelerator.trackers:
        if tracker.name == "tensorboard":
            pixels = np.asarray(sheet.convert("RGB"))[None]
            tracker.log_images({name: pixels}, step, dataformats="NHWC")
        elif hasattr(tracker, "log_images"):
            tracker.log_images({name: [sheet]}, step)


def log_rows(accelerator: Accelerator, rows: list[Row]) -> None:
    """Send benchmark rows to the trackers: as a table, or as curves of each figure against the steps."""
    for tracker in accelerator.trackers:
        if hasattr(tracker, "log_table"):
            columns = list(dict.fromkeys(key for row in rows for key in row))
            tracker.log_table("benchmark", columns, [[row.get(key) for key in columns] for row in rows])
            continue
        for row in rows:
            model = f"benchmark/{row['model']}/{row['sampler']}"
            figures = {f"{model}/{key}": row[key] for key in row if is_metric(key)}
            tracker.log(figures, step=row["steps"])
