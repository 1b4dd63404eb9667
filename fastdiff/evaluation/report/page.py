"""The page of a report: one HTML file that holds its pictures, draws its own plots and needs no network."""

import base64
import io
import re
from pathlib import Path

from PIL import Image

from ...data.decode import drawn
from ..metric_names import better
from ..summary import finite, reference, usual
from . import tables

HERE = Path(__file__).parent
COLUMNS = 16  # tiles a row of a sheet
ROWS, SMALL, LARGE = 8, 48, 96  # noises of a trajectory; pixels that a tile of it is shown with
SAMPLES, TRAJECTORIES = (
    2_400_000,
    900_000,
)  # bytes of pictures; base64 adds a third, the page stays below 5 MB
WEBP = (
    (1000, 100),
    (256, 90),
    (128, 85),
    (64, 70),
    (32, 50),
    (16, 30),
)  # side of a tile, quality (100 is lossless)
NUMBER = re.compile(r"([-+−]?[\d,]*\.?\d+(?:e[-+]?\d+)?)(?: ± .*| to .*|x)?")
MISSING = ("", "–", "diverged")


def html(
    run_dir: str | Path,
    groups: list[dict],
    metrics: list[str],
    verdict: str,
    notes: list[str],
    warnings: list[str],
    costs: tuple[list[str], list[list[str]]],
    differences: list[dict],
    provenance: dict[str, str],
) -> str:
    """The page, from the groups of `rows.summary`, with the samples and trajectories that `run_dir` holds.

    `costs` are headings and lines; a difference has a, b, steps, metric, and the difference a - b from low to
    high.
    """
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    run_dir = Path(run_dir)
    sheets = _pictures(
        run_dir / "samples", ["real", *(group.get("cell") for group in groups)], SAMPLES, COLUMNS
    )
    rooms = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return rooms.get_template("page.html.j2").render(
        title=run_dir.resolve().name,
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        data=_data(groups, metrics, sheets if sheets.keys() - {"real"} else {}),
        metrics={name: better(name) for name in metrics},
        films=_films(groups, run_dir / "trajectory"),
        steps=_steps(groups, metrics[0]),
        benchmark=_benchmark(groups, metrics),
        differences=_table(*tables.compared(differences)),
        verdict=verdict,
        notes=notes,
        warnings=warnings,
        costs=_table(*costs),
        provenance=provenance,
    )


# ---- what the script draws ------------------------------------------------------------------------------------------


def _data(groups, metrics, sheets):
    """The JSON of the page: metrics, lines, their points, and the sheets as data URIs."""
    aims = {name: reference(groups, name, usual(groups)) for name in metrics}
    lines = {group["line"]: group["teacher"] for group in groups}
    return {
        "metrics": [
            {"name": name, "better": better(name), "aim": _index(groups, aims[name])} for name in metrics
        ],
        "lines": [{"name": name, "teacher": teacher} for name, teacher in lines.items()],
        "points": [_point(group, metrics, [*lines].index(group["line"])) for group in groups],
        "sheets": sheets,
    }


def _point(group, metrics, line):
    """A group as the script sees it: what is not a finite number is null."""
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
        "figures": group["figures"],
        "values": {name: _number(group[name]) for name in metrics},
        "errors": {name: _number(group[f"{name}_ci"]) for name in metrics},
    }


def _index(groups, aim):
    return next((i for i, group in enumerate(groups) if group is aim), None)


def _number(value):
    return float(f"{value:.6g}") if finite(value) else None


# ---- tables ---------------------------------------------------------------------------------------------------------


def _benchmark(groups, metrics):
    """Figures and costs in one table, bests marked, a rule above each new family."""
    shown = tables.columns(groups, metrics)
    shown += [column for column in tables.costs(groups) if column.head not in {of.head for of in shown}]
    heads, lines = _table([column.head for column in shown], tables.lines(groups, shown))
    for line, group, before in zip(lines, groups, [groups[0], *groups]):
        line["look"] = "teacher " * group["teacher"] + "opens" * (group["family"] != before["family"])
        for cell, column in zip(line["cells"], shown):
            cell["best"] = column.metric in group["bests"]
    return heads, lines


def _steps(groups, metric):
    """One figure, a column a number of steps, bests marked."""
    heads, found = tables.by_steps(groups)
    heads, lines = _table(
        heads, [[name, *(g["figures"][metric] if g else "" for g in those)] for name, those in found]
    )
    for line, (_, those) in zip(lines, found):
        line["look"] = "teacher" * all(g["teacher"] for g in those if g)
        for cell, g in zip(line["cells"][1:], those):
            cell["best"] = g is not None and metric in g["bests"]
    return heads, lines


def _table(heads, texts):
    """Headings and lines of text, with what to sort by: a column of nothing but numbers by these, others by the text."""
    values = [[_value(text) for text in line] for line in texts]
    numbers = [not any(isinstance(value, str) for value in column) for column in zip(*values)]
    lines = [
        {
            "cells": [
                {"text": text, "value": value if number else text}
                for text, value, number in zip(*cells, numbers)
            ]
        }
        for cells in zip(texts, values)
    ]
    return [{"text": head, "number": number} for head, number in zip(heads, numbers)], lines


def _value(text):
    """The number that a text opens with, None where it stands for none, else the text."""
    if number := NUMBER.fullmatch(text):
        return float(number[1].replace(",", "").replace("−", "-"))
    return None if text in MISSING else text


# ---- pictures -------------------------------------------------------------------------------------------------------


def _films(groups, folder):
    """Trajectories as (name, width to show it with, whether its pixels are enlarged, data URI)."""
    encoded, films = _pictures(folder, [group.get("cell") for group in groups], TRAJECTORIES), []
    for group in groups:
        if source := encoded.pop(group.get("cell"), None):
            name = f"{group['line']}, {group['steps']} step{'s' * (group['steps'] != 1)}"
            film = drawn(folder / f"{group['cell']}.png")
            tile = film.height / min(ROWS, group["n"])
            zoom = SMALL // tile if tile < SMALL else min(1, LARGE / tile)
            films.append((name, round(zoom * film.width), tile < SMALL, source))
    return films


def _pictures(folder, names, room, columns=None):
    """Name -> data URI of the PNG files that exist, as they are if all fit into `room` bytes, else as WebP.

    All pictures are made small by one recipe, the first that does: sheets are alike in their rows. None if
    nothing helps.
    """
    paths = {name: folder / f"{name}.png" for name in names if (folder / f"{name}.png").exists()}
    for recipe in (None, *WEBP):
        encoded, left = {}, room
        for name, path in paths.items():
            code = path.read_bytes() if recipe is None else _webp(path, columns, *recipe)
            encoded[name] = (
                f"data:image/{'webp' if recipe else 'png'};base64,{base64.b64encode(code).decode()}"
            )
            left -= len(code)
            if left < 0:
                break
        else:
            return encoded
    return {}


def _webp(path, columns, side, quality):
    """A picture with tiles of at most `side` pixels; 100 is lossless. A sheet is cut to one row, unless it is square."""
    image = drawn(path).convert("RGB")
    if columns and image.width != image.height:
        tile = max(1, image.width // columns)
        image = image.crop((0, 0, image.width, tile))
    else:
        tile = image.height // (1 if columns else ROWS)
    if tile > side:
        image = image.resize([round(length * side / tile) for length in image.size], Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "webp", lossless=quality == 100, quality=min(quality, 90), method=2)
    return buffer.getvalue()
