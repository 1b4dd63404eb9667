"""The status of a run: the last note of its main process, and the contents of its directory."""

import json
import math
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from ..core.errors import FastdiffError
from ..core.files import atomic_write, expanded, read_object, strict_json
from .recipe_file import parse

STATUS_FILE = "status.json"
FINISHED_FILES = ("fastdiff.json", "pairs.safetensors")  # a finished stage's folder has one of them
SET_ASIDE = ".before-"  # part of the name of a folder that was set aside
SILENT_SECONDS = 600  # after this time without a note a process on another host may be dead
# The keys of a note that are read; all others are ignored.
NUMBER_KEYS = (
    "step",
    "steps",
    "loss",
    "images_per_s",
    "seconds_left",
    "wait",
    "memory_mb",
    "collapsed",
    "chance_auc",
    "processes",
    "pid",
    "time",
)
# Numbers that a stage has only if something is wrong with it, and what they say.
FLAGS = {
    "collapsed": "COLLAPSED: {:.0%} of the data covered",
    "chance_auc": "DISCRIMINATOR AT CHANCE: AUC {:.2f}",
}
TEXT_KEYS = ("stage", "number", "host")

RunStatus = dict[str, Any]


def note(folder: str | Path, **values: Any) -> None:
    """Write values, this process's pid and host, and the time into `folder`/status.json.

    The file is for information only: the run never reads it, and disk errors are ignored.
    """
    process = {"pid": os.getpid(), "host": socket.gethostname(), "time": time.time()}
    with suppress(OSError), atomic_write(Path(folder) / STATUS_FILE, sync=False) as scratch:
        scratch.write_text(strict_json(values | process) + "\n", encoding="utf-8")


def status(folder: str | Path) -> RunStatus:
    """Read the status of a run.

    Args:
        folder: the run's directory.

    Returns:
        A dict with `folder` and `name`; `done`, the finished stages; `rows`, the number of measured rows;
        `state`, {stage, step} of the newest checkpoint that a stage would resume from, or None; `alive`,
        whether the process is running, None if it is on another host; `silent`, seconds since the last note;
        `crash`, the crash report that is newer than the note; `collapsed`, stage -> fraction of the data that
        its samples cover, for collapsed stages; `chance_auc`, stage -> area under the ROC of its
        discriminator, for stages where that is near chance; and the values of the last note. Unknown values
        are absent.

    Raises:
        FastdiffError: if the folder is not a run's directory.
    """
    folder = expanded(folder)
    try:
        source = parse((folder / "recipe.yaml").read_text(encoding="utf-8"), f"{folder / 'recipe.yaml'}")
        stages = sorted(path for path in folder.iterdir() if path.is_dir() and SET_ASIDE not in path.name)
        rows = (folder / "bench.jsonl").read_bytes().count(b"\n") if (folder / "bench.jsonl").exists() else 0
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, FileNotFoundError):
            reason = "it has no recipe.yaml"
        else:
            reason = getattr(error, "strerror", None) or "its recipe.yaml is not text"
        raise FastdiffError(
            f"{folder} is not a run directory: {reason}; name a directory that `fastdiff run` has made"
        ) from None
    if not isinstance(source, dict):
        raise FastdiffError(
            f"{folder} is not a run directory: its recipe.yaml is not a recipe; name a directory that "
            "`fastdiff run` has made"
        )
    finished = {path: max(changed(path / name) for name in FINISHED_FILES) for path in stages}
    done = sorted((path for path in stages if finished[path]), key=finished.get)
    last = read_note(folder)
    values = {
        "folder": str(folder),
        "name": printable(source.get("name")),
        "done": [path.name for path in done],
        "rows": rows,
        "state": newest_state([path for path in stages if path not in done]),
        "alive": False,
        **last,
        **{key: flagged_stages(key, done, last) for key in FLAGS},
    }
    if "time" in last:
        values["silent"] = max(0.0, time.time() - last["time"])
        values["alive"] = is_alive(last)
        crashes = [path for path in folder.glob("crash-*.txt") if changed(path) >= last["time"]]
        if crashes:
            values["crash"] = max(crashes, key=changed).name
    elif (folder / "report.html").exists():  # a run of an older version, without notes
        values["stage"] = "done"
    return values


def newest_state(stages: list[Path]) -> dict[str, Any] | None:
    """Return the stage and step of the newest checkpoint in some stages' folders, or None."""
    states = [state for stage in stages for state in stage.glob("state/*") if state.name.isdecimal()]
    if not states:
        return None
    latest = max(states, key=changed).parent
    steps = [int(state.name) for state in states if state.parent == latest]
    return {"stage": latest.parent.name, "step": max(steps)}


def changed(path: Path) -> float:
    """Return the time of a file's last change; 0 if there is no such file."""
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def flagged_stages(key: str, done: list[Path], last: RunStatus) -> dict[str, float]:
    """Return the value of a key of FLAGS by stage, for the stages that have it.

    Args:
        key: key of a note and of fastdiff.json.
        done: folders of the finished stages.
        last: the last note.
    """
    values = {path.name: recorded_flag(path, key) for path in done}
    flagged = {name: value for name, value in values.items() if value is not None}
    if "stage" in last and key in last:
        flagged[last["stage"]] = last[key]
    return flagged


def recorded_flag(folder: Path, key: str) -> float | None:
    """Return the value of a key of FLAGS in a finished stage's fastdiff.json; None if it has none."""
    with suppress(OSError, ValueError):
        value = read_object(folder / FINISHED_FILES[0]).get(key)
        return value if isinstance(value, int | float) and math.isfinite(value) else None
    return None


def read_note(folder: Path) -> RunStatus:
    """Return the valid values of the last note, or {}."""
    try:
        last = json.loads((folder / STATUS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(last, dict):
        return {}
    values = {}
    for key in NUMBER_KEYS:
        if isinstance(last.get(key), int | float) and math.isfinite(last[key]):
            values[key] = last[key]
    for key in TEXT_KEYS:
        if last.get(key) and isinstance(last[key], str):
            values[key] = printable(last[key])
    return values


def printable(text: Any) -> str:
    """Return a text without control characters, cut to 200 letters."""
    return "".join(c for c in str(text) if c.isprintable())[:200]


def is_alive(last: RunStatus) -> bool | None:
    """Return whether the process that wrote a note is still running; None if it is on another host."""
    if last.get("host") != socket.gethostname():
        return None
    try:
        process = psutil.Process(int(last["pid"]))
        same = process.create_time() <= last["time"] + 1  # otherwise it is a later process with the same pid
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, ValueError, OverflowError):
        return False


# ---- as text


def lines(values: RunStatus) -> dict[str, str]:
    """Return the result of `status` as lines of text, by their titles; unknown values have no line."""
    ended = values.get("stage") == "done"
    state = values["state"]
    health = [
        f"{name} {text.format(value)}" for key, text in FLAGS.items() for name, value in values[key].items()
    ]
    table = {
        "done": ", ".join(values["done"]) or "no stage yet",
        "now": "" if ended else progress_line(values),
        "loss": f"{values['loss']:.4g}" if "loss" in values else "",
        "health": ", ".join(health),
        "speed": speed_line(values),
        "memory": f"{values['memory_mb']:,.0f} MiB" if "memory_mb" in values else "",
        "checkpoint": f"{state['stage']} at step {state['step']:,}" if state else "",
        "rows": f"{values['rows']:,} measured",
        "last note": "",
        "": advice(values, ended),
    }
    if "silent" in values:
        process = f"process {values.get('pid')} on {values.get('host')}"
        table["last note"] = f"{span(values['silent'])} ago, from {process}"
    return {name: line for name, line in table.items() if line}


def progress_line(values: RunStatus) -> str:
    """Return the current stage, its step, and the time left."""
    parts = [values.get("stage", "")]
    if "number" in values:
        parts.append(f"stage {values['number']}")
    if "step" in values:
        step = f"step {values['step']:,}"
        if values.get("steps", 0) > 0:
            step += f" of {values['steps']:,} ({values['step'] / values['steps']:.0%})"
        parts.append(step)
    if "seconds_left" in values:
        parts.append(f"{span(values['seconds_left'])} left")
    return ", ".join(filter(None, parts))


def speed_line(values: RunStatus) -> str:
    """Return the images per second, the number of processes, and the time spent waiting for data."""
    pace = values.get("images_per_s", 0.0)
    speed = f"{pace:,.{0 if pace >= 100 else 2}f} images per second" if pace else ""
    processes = f"on {values['processes']} processes" if values.get("processes", 1) > 1 else ""
    wait = f"{values['wait']:.1%} of the time waiting for data" if "wait" in values else ""
    return ", ".join(filter(None, [f"{speed} {processes}".strip(), wait]))


def advice(values: RunStatus, ended: bool) -> str:
    """Return whether a run is in progress, and how to resume it if it is not."""
    again = f"resume with: fastdiff run {values['folder']}/recipe.yaml --out {values['folder']}"
    if ended:
        report = Path(values["folder"]) / "report.html"
        return f"done: open {report}" if report.exists() else "done"
    if values["alive"]:
        return "running"
    if values["alive"] is None and values["silent"] < SILENT_SECONDS:
        return f"probably running on {values.get('host')}"
    if values["alive"] is None:
        return f"no recent note; if no process is running on {values.get('host')}, {again}"
    return (f"crashed, see {values['crash']}; " if "crash" in values else "not running; ") + again


def span(seconds: float) -> str:
    """Format a number of seconds: 12 s, 5 min 40 s, 3 h 12 min, 2 days 5 h."""
    seconds = max(0, round(seconds))
    for unit, name, smaller, below in (
        (86400, "days", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= unit:
            return f"{seconds // unit:,} {name} {seconds % unit // smaller} {below}"
    return f"{seconds} s"
