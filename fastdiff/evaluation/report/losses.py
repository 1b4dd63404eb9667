"""The loss curves of a run's stages, from their logs."""

import json
import math
from pathlib import Path
from typing import Any

from ..formatting import figure, finite

POINTS = 200  # most points of a curve
WIDTH, HEIGHT = 100, 40  # of a drawing
DECADE = 3  # ratio of the largest to the smallest loss above which the axis is logarithmic


def curves(run_dir: Path, models: list[str]) -> list[dict[str, Any]]:
    """Return the loss curves of a run in the form of the template: those of the models first.

    Args:
        run_dir: folder of the run; each stage has its log.jsonl in a folder.
        models: names of the models of the benchmark, in its order.
    """
    logs = {path.parent.name: path for path in sorted(run_dir.glob("*/log.jsonl"))}
    names = [name for name in dict.fromkeys([*models, *logs]) if name in logs]
    drawn = [curve(name, losses(logs[name])) for name in names]
    return [one for one in drawn if one]


def losses(path: Path) -> list[tuple[int, float]]:
    """Return the steps and losses in a log; lines without a finite loss, or damaged, are left out."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            step, loss = int(entry["step"]), entry["loss"]
        except (ValueError, TypeError, KeyError):
            continue
        if finite(loss):
            found.append((step, float(loss)))
    return found


def curve(name: str, points: list[tuple[int, float]]) -> dict[str, Any] | None:
    """Return one curve as the points of a polyline, with its ends in words; None for less than two points."""
    if len(points) < 2:
        return None
    values = [loss for _, loss in points]
    log = min(values) > 0 and max(values) > DECADE * min(values)
    heights = [math.log(value) if log else value for value in values]
    low, high = min(heights), max(heights)
    first, last = points[0][0], points[-1][0]
    every = math.ceil(len(points) / POINTS)
    chosen = sorted({*range(0, len(points), every), len(points) - 1})
    places = [
        f"{WIDTH * (points[i][0] - first) / ((last - first) or 1):.1f},"
        f"{1 + (HEIGHT - 2) * (high - heights[i]) / ((high - low) or 1):.1f}"
        for i in chosen
    ]
    axis = ", logarithmic" if log else ""
    return {
        "name": name,
        "points": " ".join(places),
        "text": f"{figure(values[0])} to {figure(values[-1])} in {last:,} steps{axis}",
    }
