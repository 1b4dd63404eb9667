"""The status of a run for other shells: the last note of its processes, and the contents of its directory."""

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
from ..core.files import atomic_write, read_object, strict_json
from .recipe_file import parse

STATUS_FILE = "status.json"
FINISHED_FILES = ("fastdiff.json", "pairs.safetensors")  # one of them is in a finished stage's folder
SET_ASIDE = ".before-"  # in the name of a folder that was set aside
SILENT_SECONDS = 600  # without a note, after which a process on another host may be dead
# The keys of a note that are read; others, of a file that somebody changed, are ignored.
NUMBER_KEYS = (
    "step",
    "steps",
    "loss",
    "images_per_s",
    "seconds_left",
    "wait",
    "memory_mb",
    "collapsed",
    "processes",
    "pid",
    "time",
)
TEXT_KEYS = ("stage", "number", "host")

RunStatus = dict[str, Any]


def note(folder: str | Path, **values: Any) -> None:
    """Write `folder`/status.json: some values, with this process's pid and host, and the time.

    It informs and is no state of the run, so an error of the disk is ignored.
    """
    process = {"pid": os.getpid(), "host": socket.gethostname(), "time": time.time()}
    with suppress(OSError), atomic_write(Path(folder) / STATUS_FILE, sync=False) as scratch:
        scratch.write_text(strict_json(values | process) + "\n")


def status(folder: str | Path) -> RunStatus:
    """Read the status of a run.

    Args:
        folder: the run's directory.

    Returns:
        folder, name; done (finished stages); rows (measured); state ({stage, step} of the newest state that a
        stage would resume from, or None); alive (None if the process is on another host); silent (seconds
        since the last note); crash (the report of a crash after it); collapsed (by stage, the share of the
        data that its samples cover, if it is too small); and the values of the last note. Keys that are not
        known are absent.

    Raises:
        FastdiffError: if the folder is no run's directory.
    """
    folder = Path(folder).expanduser()
    try:
        source = parse((folder / "recipe.yaml").read_text(), f"{folder / 'recipe.yaml'}")
        stages = sorted(path for path in folder.iterdir() if path.is_dir() and SET_ASIDE not in path.name)
        rows = (folder / "bench.jsonl").read_bytes().count(b"\n") if (folder / "bench.jsonl").exists() else 0
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "recipe.yaml is no text"
        raise FastdiffError(
            f"{folder} is no run ({reason}): "
            "name a directory that fastdiff run has made, with recipe.yaml in it"
        ) from None
    if not isinstance(source, dict):
        raise FastdiffError(
            f"{folder / 'recipe.yaml'} is no recipe: name a directory that fastdiff run has made"
        )
    finished = {path: max(changed(path / name) for name in FINISHED_FILES) for path in stages}
    done = sorted((path for path in stages if finished[path]), key=finished.get)
    last = read_note(folder)
    found = {
        "folder": str(folder),
        "name": printable(source.get("name")),
        "done": [path.name for path in done],
        "rows": rows,
        "state": newest_state([path for path in stages if path not in done]),
        "alive": False,
        **last,
        "collapsed": collapsed_stages(done, last),
    }
    if "time" in last:
        found["silent"] = max(0.0, time.time() - last["time"])
        found["alive"] = is_alive(last)
        crashes = [path for path in folder.glob("crash-*.txt") if changed(path) >= last["time"]]
        if crashes:
            found["crash"] = max(crashes, key=changed).name
    elif (folder / "report.html").exists():  # a run of a version that wrote no notes
        found["stage"] = "done"
    return found


def newest_state(stages: list[Path]) -> dict[str, Any] | None:
    """Return the stage and step of the newest state in some stages' folders, None if there is no state."""
    states = [state for stage in stages for state in stage.glob("state/*") if state.name.isdecimal()]
    if not states:
        return None
    latest = max(states, key=changed).parent
    steps = [int(state.name) for state in states if state.parent == latest]
    return {"stage": latest.parent.name, "step": max(steps)}


def changed(path: Path) -> float:
    """Return the time of a file's last change, 0 if there is no such file."""
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def collapsed_stages(done: list[Path], last: RunStatus) -> dict[str, float]:
    """Return the share of the data that the samples of each collapsed stage cover, by stage."""
    shares = {path.name: collapsed_share(path) for path in done}
    found = {name: share for name, share in shares.items() if share is not None}
    if "stage" in last and "collapsed" in last:
        found[last["stage"]] = last["collapsed"]
    return found


def collapsed_share(folder: Path) -> float | None:
    """Return the share of the data that a finished stage's samples cover, None if it did not collapse."""
    with suppress(OSError, ValueError):
        share = read_object(folder / FINISHED_FILES[0]).get("collapsed")
        return share if isinstance(share, int | float) and math.isfinite(share) else None
    return None


def read_note(folder: Path) -> RunStatus:
    """Return the last note, as far as it can be read."""
    try:
        last = json.loads((folder / STATUS_FILE).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(last, dict):
        return {}
    found = {}
    for key in NUMBER_KEYS:
        if isinstance(last.get(key), int | float) and math.isfinite(last[key]):
            found[key] = last[key]
    for key in TEXT_KEYS:
        if last.get(key) and isinstance(last[key], str):
            found[key] = printable(last[key])
    return found


def printable(text: Any) -> str:
    """Return a text, cut to 200 letters, without characters that a terminal would obey."""
    return "".join(c for c in str(text) if c.isprintable())[:200]


def is_alive(last: RunStatus) -> bool | None:
    """Return whether the process that wrote a note still lives; None if it is on another host."""
    if last.get("host") != socket.gethostname():
        return None
    try:
        process = psutil.Process(int(last["pid"]))
        same = process.create_time() <= last["time"] + 1  # and not a later one with the same pid
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, ValueError, OverflowError):
        return False


# ---- as text


def lines(found: RunStatus) -> dict[str, str]:
    """Return the result of `status` as the lines of a table, without those of which nothing is known."""
    ended = found.get("stage") == "done"
    state = found["state"]
    collapsed = [
        f"{name} COLLAPSED: {share:.0%} of the data covered" for name, share in found["collapsed"].items()
    ]
    table = {
        "done": ", ".join(found["done"]) or "no stage yet",
        "now": "" if ended else progress_line(found),
        "loss": f"{found['loss']:.4g}" if "loss" in found else "",
        "health": ", ".join(collapsed),
        "speed": speed_line(found),
        "memory": f"{found['memory_mb']:,.0f} MiB" if "memory_mb" in found else "",
        "state": f"{state['stage']} at step {state['step']:,}" if state else "",
        "rows": f"{found['rows']:,} measured",
        "heard": "",
        "": advice(found, ended),
    }
    if "silent" in found:
        process = f"process {found.get('pid')} on {found.get('host')}"
        table["heard"] = f"{span(found['silent'])} ago, of {process}"
    return {name: line for name, line in table.items() if line}


def progress_line(found: RunStatus) -> str:
    """Return the stage at work, its step, and the time left."""
    parts = [found.get("stage", "")]
    if "number" in found:
        parts.append(f"stage {found['number']}")
    if "step" in found:
        step = f"step {found['step']:,}"
        if found.get("steps", 0) > 0:
            step += f" of {found['steps']:,} ({found['step'] / found['steps']:.0%})"
        parts.append(step)
    if "seconds_left" in found:
        parts.append(f"{span(found['seconds_left'])} left")
    return ", ".join(filter(None, parts))


def speed_line(found: RunStatus) -> str:
    """Return the images per second, the number of processes if there are several, and the wait for data."""
    pace = found.get("images_per_s", 0.0)
    speed = f"{pace:,.{0 if pace >= 100 else 2}f} images a second" if pace else ""
    processes = f"on {found['processes']} processes" if found.get("processes", 1) > 1 else ""
    wait = f"{found['wait']:.1%} of the time waiting for data" if "wait" in found else ""
    return ", ".join(filter(None, [f"{speed} {processes}".strip(), wait]))


def advice(found: RunStatus, ended: bool) -> str:
    """Return whether a run is running, and what to do if it is not."""
    again = f"the same command goes on: fastdiff run {found['folder']}/recipe.yaml --out {found['folder']}"
    if ended:
        report = Path(found["folder"]) / "report.html"
        return f"done: open {report}" if report.exists() else "done"
    if found["alive"]:
        return "running"
    if found["alive"] is None and found["silent"] < SILENT_SECONDS:
        return f"running on {found.get('host')}, as far as can be told from here"
    if found["alive"] is None:
        return f"silent; if no process runs on {found.get('host')}, {again}"
    return (f"crashed, see {found['crash']}; " if "crash" in found else "not running; ") + again


def span(seconds: float) -> str:
    """Return a length of time as text: 12 s, 5 min 40 s, 3 h 12 min, 2 days 5 h."""
    seconds = max(0, round(seconds))
    for unit, name, smaller, below in (
        (86400, "days", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= unit:
            return f"{seconds // unit:,} {name} {seconds % unit // smaller} {below}"
    return f"{seconds} s"
