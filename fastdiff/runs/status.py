"""What goes on in a run, for whoever asks from another shell: the loop's last word, and what the directory shows."""

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
from ..core.files import read_object, strict_json
from .recipe_file import parse

FILE = "status.json"
DONE = ("fastdiff.json", "pairs.safetensors")  # what a finished stage's folder has
ASIDE = ".before-"  # in the name of a folder that was set aside
SILENT = 600  # seconds after which a process elsewhere may be dead
# What a note may say; the rest of a file that somebody changed is passed over.
NUMBERS = (
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
WORDS = ("stage", "number", "host")


def note(folder: str | Path, **what: Any) -> None:
    """Say what goes on: `folder`/status.json anew, with pid, host and time. It is news, no state: what fails is let go."""
    path = Path(folder) / FILE
    said = {**what, "pid": os.getpid(), "host": socket.gethostname(), "time": time.time()}
    with suppress(OSError):
        scratch = path.with_name(f".{FILE}.new")
        scratch.write_text(strict_json(said) + "\n")
        scratch.replace(path)


def status(folder: str | Path) -> dict[str, Any]:
    """What goes on in a run's directory; FastdiffError where it is none.

    name, done (stages), rows (measured), state ({stage, step} of the newest that a stage not done would
    resume from, or None), alive (None where the process is on another host), silent (seconds since it was
    heard), crash (a report strict_json after that), collapsed (by stage, the share of the data that its samples
    cover, where that is too small), and what the last note said; keys that nobody told of are absent.
    """
    folder = Path(folder).expanduser()
    try:
        source = parse((folder / "recipe.yaml").read_text(), f"{folder / 'recipe.yaml'}")
        stages = sorted(path for path in folder.iterdir() if path.is_dir() and ASIDE not in path.name)
        rows = (folder / "bench.jsonl").read_bytes().count(b"\n") if (folder / "bench.jsonl").exists() else 0
    except (OSError, UnicodeDecodeError) as error:
        raise FastdiffError(
            f"{folder} is no run ({getattr(error, 'strerror', None) or 'recipe.yaml is no text'}): "
            "name a directory that fastdiff run has made, with recipe.yaml in it"
        ) from None
    if not isinstance(source, dict):
        raise FastdiffError(
            f"{folder / 'recipe.yaml'} is no recipe: name a directory that fastdiff run has made"
        )
    finished = {path: max(map(changed, (path / name for name in DONE))) for path in stages}
    done = sorted((path for path in stages if finished[path]), key=finished.get)
    states = [
        state
        for path in stages
        if path not in done
        for state in path.glob("state/*")
        if state.name.isdecimal()
    ]
    latest = max(states, key=changed, default=None)
    newest = latest and max(
        (state for state in states if state.parent == latest.parent), key=lambda state: int(state.name)
    )
    last = heard(folder)
    fallen = {path.name: share for path in done if (share := collapsed(path)) is not None}
    fallen |= {last["stage"]: last["collapsed"]} if {"stage", "collapsed"} <= last.keys() else {}
    found = {
        "folder": str(folder),
        "name": plain(source.get("name")),
        "done": [path.name for path in done],
        "rows": rows,
        "state": newest and {"stage": newest.parts[-3], "step": int(newest.name)},
        "alive": False,
        **last,
        "collapsed": fallen,
    }
    if "time" in last:
        found |= {"silent": max(0.0, time.time() - last["time"]), "alive": alive(last)}
        crashes = [path for path in folder.glob("crash-*.txt") if changed(path) >= last["time"]]
        found |= {"crash": max(crashes, key=changed).name} if crashes else {}
    elif (folder / "report.html").exists():  # of days when nobody took notes
        found["stage"] = "done"
    return found


def changed(path: Path) -> float:
    """When a file was last changed; 0 where there is none."""
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def collapsed(folder: Path) -> float | None:
    """The share of the data that a finished stage's samples cover, where its export says that it is too small."""
    with suppress(OSError, ValueError):
        share = read_object(folder / DONE[0]).get("collapsed")
        return share if isinstance(share, int | float) and math.isfinite(share) else None
    return None


def heard(folder: Path) -> dict[str, Any]:
    """The last note, as far as it can be read."""
    try:
        said = json.loads((folder / FILE).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    numbers = {
        key: said[key]
        for key in NUMBERS
        if isinstance(said.get(key), int | float) and math.isfinite(said[key])
    }
    return numbers | {key: plain(said[key]) for key in WORDS if said.get(key) and isinstance(said[key], str)}


def plain(text: Any) -> str:
    """Text without what a terminal would obey."""
    return "".join(c for c in str(text) if c.isprintable())[:200]


def alive(last: dict[str, Any]) -> bool | None:
    """Whether the process that took the note still lives; None where it is on another host."""
    if last.get("host") != socket.gethostname():
        return None
    try:
        process = psutil.Process(int(last["pid"]))
        return (
            process.create_time() <= last["time"] + 1 and process.status() != psutil.STATUS_ZOMBIE
        )  # nor a later one
    except (psutil.Error, KeyError, ValueError, OverflowError):
        return False


# ---- as text


def lines(found: dict[str, Any]) -> dict[str, str]:
    """What `status` found, as the lines of a table; what is not known is left out."""
    has = found.keys()
    percent = (
        "steps" in has and "step" in has and found["steps"] > 0 and f" ({found['step'] / found['steps']:.0%})"
    )
    step = (
        f"step {found['step']:,}" + (f" of {found['steps']:,}{percent}" if percent else "")
        if "step" in has
        else ""
    )
    left = f"{span(found['seconds_left'])} left" if "seconds_left" in has else ""
    pace = found.get("images_per_s", 0.0)
    speed = f"{pace:,.{0 if pace >= 100 else 2}f} images a second" if pace else ""
    many = f"on {found['processes']} processes" if found.get("processes", 1) > 1 else ""
    wait = f"{found['wait']:.1%} of the time waiting for data" if "wait" in has else ""
    ended = found.get("stage") == "done"
    now = [found.get("stage", ""), f"stage {found['number']}" if "number" in has else "", step, left]
    state = found["state"]
    told = {
        "done": ", ".join(found["done"]) or "no stage yet",
        "now": "" if ended else ", ".join(filter(None, now)),
        "loss": f"{found['loss']:.4g}" if "loss" in has else "",
        "health": ", ".join(
            f"{name} COLLAPSED: {share:.0%} of the data covered" for name, share in found["collapsed"].items()
        ),
        "speed": ", ".join(filter(None, [f"{speed} {many}".strip(), wait])),
        "memory": f"{found['memory_mb']:,.0f} MiB" if "memory_mb" in has else "",
        "state": f"{state['stage']} at step {state['step']:,}" if state else "",
        "rows": f"{found['rows']:,} measured",
        "heard": f"{span(found['silent'])} ago, of process {found.get('pid')} on {found.get('host')}"
        if "silent" in has
        else "",
        "": advice(found, ended),
    }
    return {name: line for name, line in told.items() if line}


def advice(found: dict[str, Any], ended: bool) -> str:
    """Whether it runs, and what to do."""
    again = f"the same command goes on: fastdiff run {found['folder']}/recipe.yaml --out {found['folder']}"
    if ended:
        report = Path(found["folder"]) / "report.html"
        return f"done: open {report}" if report.exists() else "done"
    if found["alive"]:
        return "running"
    if found["alive"] is None and found["silent"] < SILENT:
        return f"running on {found.get('host')}, as far as can be told from here"
    if found["alive"] is None:
        return f"silent; if no process runs on {found.get('host')}, {again}"
    return (f"crashed, see {found['crash']}; " if "crash" in found else "not running; ") + again


def span(seconds: float) -> str:
    """A length of time: 12 s, 5 min 40 s, 3 h 12 min, 2 days 5 h."""
    seconds = max(0, round(seconds))
    for unit, name, smaller, below in (
        (86400, "days", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= unit:
            return f"{seconds // unit:,} {name} {seconds % unit // smaller} {below}"
    return f"{seconds} s"
