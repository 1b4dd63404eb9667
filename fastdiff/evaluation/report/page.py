"""The page of a report: one self-contained HTML file that draws its own plots."""

import re
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ...core.templates import render
from ...data.decode import read_run_picture
from ..comparison import figure_name, reference, usual
from ..formatting import finite
from ..metric_names import better
from ..summary import REAL, usual_real
from . import ladder, losses, tables
from .data_uris import ROWS, pictures
from .text import steps_in_words

FOLDER = Path(__file__).parent
SCRIPTS = ("page.js", "samples.js", "start.js")  # one script, in this order
COLUMNS = 16  # tiles in a row of a sheet
MIN_TILE_PIXELS = 48  # smallest side of a tile of a trajectory, as shown
MAX_TILE_PIXELS = 96  # largest side of it
SAMPLES_BYTES = 2_400_000  # most bytes of sheets; base64 adds a third, and the page stays below 5 MB
TRAJECTORIES_BYTES = 900_000  # most bytes of trajectories
NUMBER = re.compile(r"([-+−]?[\d,]*\.?\d+(?:e[-+]?\d+)?)(?: ± .*| to .*| ≈| \(no interval\))?")
MISSING_TEXTS = ("", "–", "diverged")

Table = tuple[list[dict[str, Any]], list[dict[str, Any]]]  # headings and lines, in the form of the template


def html(
    run_dir: str | Path,
    groups: list[dict],
    metrics: list[str],
    verdict: str,
    notes: list[str],
    warnings: list[str],
    costs: tuple[list[str], list[list[str]]],
    differences: tuple[list[str], list[list[str]]],
    pairs: list[dict],
    provenance: dict[str, str],
    reals: list[dict],
) -> str:
    """Return the page as HTML.

    Args:
        run_dir: folder of the run, whose samples, trajectories, loss curves and recipe are embedded.
        groups: groups from `summary`.
        metrics: names of metrics, the main one first.
        verdict: summary below the title.
        notes: lines on how to read the figures.
        warnings: lines on why figures may be unreliable.
        costs: headings and lines of the table of training costs.
        differences: headings and lines of the table of differences.
        pairs: paired differences of kernel distances from `significance.differences`.
        provenance: origin of the figures, as facts by name.
        reals: groups of real data.
    """
    run_dir = Path(run_dir)
    cells = [group.get("cell") for group in groups]
    sheets = pictures(run_dir / "samples", ["real", *cells], SAMPLES_BYTES, COLUMNS)
    if not sheets.keys() - {"real"}:
        sheets = {}
    name = figure_name(groups, metrics[0])
    real = usual_real(reals, groups)
    return render(
        FOLDER / "page.html.j2",
        title=run_dir.resolve().name,
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup("\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)),
        data=_data(groups, metrics, sheets, reals),
        metrics={name: better(name) for name in _names(groups, metrics)},
        films=_films(groups, run_dir / "trajectory"),
        metric=metrics[0],
        compared=metrics[0] if name == metrics[0] else f"{metrics[0]} n→∞",
        steps=_steps(groups, name, real),
        benchmark=_benchmark([*reals, *groups], metrics),
        differences=_table(*differences),
        pairs=_table(*tables.compared(pairs)),
        verdict=verdict,
        notes=notes,
        warnings=warnings,
        costs=_table(*costs),
        ladder=ladder.ladder(groups, metrics[0], reference(groups, metrics[0], usual(groups)), real),
        curves=losses.curves(run_dir, [group["model"] for group in groups]),
        recipe=_recipe(run_dir),
        provenance=provenance,
    )


def _recipe(run_dir: Path) -> str:
    """Return the text of a run's recipe; empty without one."""
    path = run_dir / "recipe.yaml"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


# ---- data of the script -----------------------------------------------------------------------------------


def _names(groups: list[dict], metrics: list[str]) -> list[str]:
    """Return the names of metrics, each followed by that of its extrapolation if groups have it."""
    names = [name + suffix for name in metrics for suffix in ("", "_inf")]
    return [name for name in names if any(name in group["figures"] for group in groups)]


def _data(
    groups: list[dict], metrics: list[str], sheets: dict[str, str], reals: list[dict]
) -> dict[str, Any]:
    """Return the data of the page's script: metrics, lines, their points, and the sheets as data URIs."""
    usual_group = usual(groups)
    lines = {group["line"]: group["teacher"] for group in groups}
    families = list(lines)
    names = _names(groups, metrics)
    real = usual_real(reals, groups)
    return {
        "metrics": [
            {
                "name": name,
                "better": better(name),
                "levels": _levels(reference(groups, name, usual_group), real, name),
                "real": real["figures"].get(name, "") if real else "for comparison",
            }
            for name in names
        ],
        "lines": [{"name": name, "teacher": teacher} for name, teacher in lines.items()],
        "points": [_point(group, names, families.index(group["line"])) for group in groups],
        "sheets": sheets,
    }


def _levels(aim: dict | None, real: dict | None, name: str) -> list[dict[str, Any]]:
    """Return the dotted lines of a metric: the teacher's DDPM, and real data."""
    titled = [(aim, aim and f"{aim['line']}, {steps_in_words(aim)}"), (real, REAL)]
    return [
        {"value": _number(group[name]), "text": f"{title}: {group['figures'][name]}"}
        for group, title in titled
        if group and finite(group.get(name))
    ]


def _point(group: dict, metrics: list[str], line: int) -> dict[str, Any]:
    """Return a group in the form of the script; None stands for a number that is not finite."""
    return {
        "line": line,
        "model": group["model"],
        "sampler": group["solver"],
        "steps": group["steps"],
        "nfe": _number(group["nfe"]),
        "ms": _number(group["ms_per_image"]),
        "n": group["n"],
        "seeds": ", ".join(map(str, group["seeds"])),
        "cell": group.get("cell"),
        "bests": group["bests"],
        "equals": group["equals"],
        "figures": group["figures"],
        "values": {name: _number(group.get(name)) for name in metrics},
        "errors": {name: _number(group.get(f"{name}_ci")) for name in metrics},
    }


def _number(value: float | None) -> float | None:
    """Return a finite number rounded to six digits; None for any other value."""
    return float(f"{value:.6g}") if finite(value) else None


# ---- tables -----------------------------------------------------------------------------------------------


def _benchmark(groups: list[dict], metrics: list[str]) -> Table:
    """Return the table of all figures and costs, best values marked, with a rule above each new family."""
    shown = tables.columns(groups, metrics)
    heads = {column.head for column in shown}
    shown += [column for column in tables.costs(groups) if column.head not in heads]
    headings, lines = _table([column.head for column in shown], tables.lines(groups, shown))
    for line, group, before in zip(lines, groups, [groups[0], *groups]):
        teacher = "teacher " if group["teacher"] else ""
        opens = "opens" if group["family"] != before["family"] else ""
        line["look"] = teacher + opens
        for cell, column in zip(line["cells"], shown):
            cell["best"] = column.metric in group["bests"]
    return headings, lines


def _steps(groups: list[dict], name: str, real: dict | None) -> Table:
    """Return the table of one figure with a column for each number of steps, best values marked."""
    headings, lines = _table(*tables.steps_texts(groups, name, real))
    found = [[]] * bool(real) + [by_steps for _, by_steps in tables.by_steps(groups)[1]]
    for line, by_steps in zip(lines, found):
        if all(g["teacher"] for g in by_steps if g):
            line["look"] = "teacher"
        for cell, g in zip(line["cells"][1:], by_steps):
            cell["best"] = g is not None and name in g["bests"]
    return headings, lines


def _table(heads: list[str], texts: list[list[str]]) -> Table:
    """Return headings and lines of text, with values to sort by.

    A column that holds only numbers is sorted by them, any other by its text.
    """
    values = [[_value(text) for text in line] for line in texts]
    numeric = [not any(isinstance(value, str) for value in column) for column in zip(*values)]
    lines = [
        {"look": "", "cells": [_cell(*entry) for entry in zip(line, own, numeric)]}
        for line, own in zip(texts, values)
    ]
    return [{"text": head, "number": number} for head, number in zip(heads, numeric)], lines


def _cell(text: str, value: float | str | None, number: bool) -> dict[str, Any]:
    """Return a cell of a table in the form of the template."""
    return {"text": text, "value": value if number else text, "best": False}


def _value(text: str) -> float | str | None:
    """Return the number at the beginning of a text; None for a missing value; else the text."""
    if number := NUMBER.fullmatch(text):
        return float(number[1].replace(",", "").replace("−", "-"))
    return None if text in MISSING_TEXTS else text


# ---- pictures ---------------------------------------------------------------------------------------------


def _films(groups: list[dict], folder: Path) -> list[tuple[str, int, bool, str]]:
    """Return trajectories as (name, width as shown, whether pixels are enlarged, data URI)."""
    encoded = pictures(folder, [group.get("cell") for group in groups], TRAJECTORIES_BYTES)
    films = []
    for group in groups:
        if source := encoded.pop(group.get("cell"), None):
            film = read_run_picture(folder / f"{group['cell']}.png")
            tile = film.height / min(ROWS, group["n"])
            zoom = MIN_TILE_PIXELS // tile if tile < MIN_TILE_PIXELS else min(1, MAX_TILE_PIXELS / tile)
            name = f"{group['line']}, {steps_in_words(group)}"
            films.append((name, round(zoom * film.width), tile < MIN_TILE_PIXELS, source))
    return films
