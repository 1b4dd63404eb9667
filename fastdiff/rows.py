"""The rows of a benchmark, one flat JSON object a line, appended and never rewritten; and what they say in sum."""

import hashlib
import json
import math
import os
from pathlib import Path
from statistics import fmean, stdev

from fastdiff.errors import FastdiffError

MADE = ("weights", "reference", "extractor", "clip")  # what must be alike for rows of a cell to be averaged
CELL = ("model", "sampler", "spacing", "steps", "guidance", "n")  # what rows share that differ in their seed alone


# ---- the file -------------------------------------------------------------------------------------------------------


def identity(**what) -> str:
    """16 hex digits that name everything a figure depends on; equal values give equal names, whatever their order."""
    # 1 and 1.0 are the same guidance, wherever they were read from
    same = json.loads(json.dumps(what), parse_float=lambda x: int(float(x)) if float(x).is_integer() else float(x))
    return hashlib.sha256(json.dumps(same, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def read_rows(path: str | Path) -> list[dict]:
    """All rows of a file, none if it does not exist; of rows that share a key the last one holds.

    A row counts once its newline is written: what follows the last newline was cut off by a kill and is ignored.
    """
    path = Path(path)
    if not path.exists():
        return []
    rows = {}
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line)
            rows[row["key"]] = row
        except (ValueError, TypeError, KeyError):
            raise FastdiffError(
                f'{path}, line {number}: expected a JSON object with a "key"; mend or delete that line'
            ) from None
    return list(rows.values())


def append_row(path: str | Path, row: dict) -> None:
    """Add one row, on disk when this returns; a half-written line left by a kill is cut off first."""
    line = json.dumps(row).encode() + b"\n"
    with open(path, "a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


# ---- the sum --------------------------------------------------------------------------------------------------------


def metric_of(rows: list[dict]) -> str:
    """The figure that a report is about: fid, else the first fd_<extractor>, else energy."""
    present = [name for row in rows for name, value in row.items() if _is_metric(name) and value is not None]
    if not present:
        raise FastdiffError("no metric in these rows: expected fid, fd_<extractor> or energy; bench again with one")
    return min(present, key=lambda name: ("fid", "fd", "energy").index(name.split("_")[0]))


def current_rows(rows: list[dict]) -> list[dict]:
    """The rows that still hold: of each cell those made as its last row was, of each seed the last of them."""
    made = lambda row: [row.get(name) for name in MADE]  # noqa: E731
    newest = {_cell(row): made(row) for row in rows}
    held = [row for row in rows if made(row) == newest[_cell(row)]]
    return list({(_cell(row), row.get("seed")): row for row in held}.values())


def summary(rows: list[dict]) -> list[dict]:
    """One group a cell: means over seeds, teachers first, then students by model in row order, by NFE.

    Beside the fields of a row a group has `seeds`; `<metric>_std`, None for one seed; `figure`, the metric as text;
    `teacher`; `family`, the model without its step count (progressive-4 -> progressive); `solver`, the sampler and what
    tells it from its like; `line`, the name of its curve; `gain`, how many times the teacher's DDIM at the same steps
    and n is worse (students only); `best`, whether it has the lowest figure of several at its steps and n.
    """
    metric = metric_of(rows)
    cells = {}
    for row in current_rows(rows):
        cells.setdefault(_cell(row), []).append(row)
    groups = [_mean(cell, metric) for cell in cells.values()]
    for group in groups:
        kin = [other for other in groups if other["model"] == group["model"]]
        single = len({other["steps"] for other in kin}) == 1
        group["family"] = group["model"].removesuffix(f"-{group['steps']}") if single else group["model"]
        group["solver"] = _solver(group, [other for other in kin if other["sampler"] == group["sampler"]])
        group["teacher"] = group["model"] == "teacher" or group.get("method") in (None, "denoising")
    for group in groups:
        solvers = {other["solver"] for other in groups if other["family"] == group["family"]}
        named = group["teacher"] or len(solvers) > 1
        group["line"] = f"{group['family']} {group['solver']}" if named else group["family"]
        group |= _standing(group, groups, metric)
    order = {family: place for place, family in enumerate(dict.fromkeys(group["family"] for group in groups))}
    return sorted(groups, key=lambda g: (not g["teacher"], order[g["family"]], g["solver"], g["nfe"] or 0, g["steps"]))


def reference(groups: list[dict], metric: str, n: int) -> dict | None:
    """The group students aim at: the teacher's DDPM with the most steps, over as many images."""
    ddpm = [g for g in groups if g["teacher"] and g["sampler"] == "ddpm" and g["n"] == n and finite(g[metric])]
    return max(ddpm, key=lambda g: g["steps"], default=None)


def figure(mean: float | None, std: float | None = None) -> str:
    """A number to three digits and its spread to the same decimals: 24.1 ± 0.3."""
    if mean is None:
        return "–"
    if not math.isfinite(mean):
        return "diverged"
    exponents = [(digits, int(f"{x:.{digits - 1}e}".split("e")[1])) for x, digits in ((mean, 3), (std, 1)) if x]
    decimals = min(max([0, *(digits - 1 - exponent for digits, exponent in exponents)]), 6)
    return f"{mean:.{decimals}f}" + ("" if std is None else f" ± {std:.{decimals}f}")


def finite(value: float | None) -> bool:
    """Whether there is a number: neither missing nor diverged."""
    return value is not None and math.isfinite(value)


def _is_metric(name):
    return name in ("fid", "energy") or name.startswith("fd_")


def _cell(row):
    return tuple(row.get(name) for name in CELL)


def _mean(rows, metric):
    """Rows of one cell as one: metrics and costs averaged over seeds, the rest as in the last row."""
    group = dict.fromkeys((*CELL, "nfe", "ms_per_image", metric))
    group |= {name: value for name, value in rows[-1].items() if name not in ("key", "seed", "time")}
    group["seeds"] = [row.get("seed") for row in rows]
    for name in list(group):
        if _is_metric(name) or name in ("nfe", "ms_per_image", "images_per_s"):
            values = [row[name] for row in rows if row.get(name) is not None]
            group[name] = fmean(values) if values else None
            if _is_metric(name):
                group[f"{name}_std"] = stdev(values) if len(values) > 1 and all(map(finite, values)) else None
    group["figure"] = figure(group[metric], group[f"{metric}_std"])
    return group


def _solver(group, kin):
    """The sampler, with the spacing and n where its kin differ in them, and any guidance."""
    parts = [group["sampler"]]
    parts += [group["spacing"]] if len({other["spacing"] for other in kin}) > 1 else []
    parts += [f"w={group['guidance']:g}"] if group["guidance"] not in (None, 1) else []
    parts += [f"n={group['n']}"] if len({other["n"] for other in kin}) > 1 else []
    return " ".join(map(str, parts))


def _standing(group, groups, metric):
    """How a group stands among those of its steps and n: {gain, best}."""
    rivals = [g for g in groups if (g["steps"], g["n"]) == (group["steps"], group["n"]) and finite(g[metric])]
    best = len(rivals) > 1 and group[metric] == min(g[metric] for g in rivals)
    ddim = [g[metric] for g in rivals if g["teacher"] and g["sampler"] == "ddim"]
    if group["teacher"] or group not in rivals or not ddim or group[metric] <= 0:
        return {"gain": None, "best": best}
    return {"gain": min(ddim) / group[metric], "best": best}  # of several spacings the strongest baseline
