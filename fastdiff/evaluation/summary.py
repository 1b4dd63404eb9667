"""The summary of a benchmark's rows: means over seeds, spreads, ratios and ranks."""

import math
from collections.abc import Iterable
from statistics import fmean, mode, stdev
from typing import Any

from ..core.errors import FastdiffError
from .metric_names import FAMILIES, MAIN_METRICS, UNRANKED_FAMILIES, better, family, is_metric

Group = dict[str, Any]  # the mean of a cell's rows, as `summary` returns it

ORIGIN_FIELDS = ("weights", "reference", "extractor")  # must be equal for rows of a cell to be averaged
# equal in rows that differ only in their seed
CELL_FIELDS = ("model", "sampler", "spacing", "steps", "guidance", "clip", "n")
COMPARISON_FIELDS = ("n", "reference", "extractor")  # must be equal for metrics to be compared
COST_FIELDS = ("nfe", "ms_per_image", "images_per_s", "peak_mb", "flops_per_image")


class Row(dict[str, Any]):
    """A row of a benchmark: a line of bench.jsonl, whose keys rows.py documents, printed as a short text.

    >>> print(row)
    teacher · ddim · 4 steps · fd_digits 3.89 ± 0.2 · 512 samples
    """

    __slots__ = ()

    def __repr__(self) -> str:
        parts = [self.get("model"), self.get("sampler")]
        if self.get("spacing") not in (None, "uniform"):
            parts.append(self["spacing"])
        if self.get("steps") is not None:
            parts.append(f"{self['steps']} step{'' if self['steps'] == 1 else 's'}")
        if self.get("guidance") not in (None, 1):
            parts.append(f"w={self['guidance']:g}")
        if any(family(name) in MAIN_METRICS for name in _present([self])):
            metric = metric_of([self])
            error = self.get(f"{metric}_se")
            parts.append(f"{metric} {figure(self[metric], 1.96 * error if finite(error) else None)}")
        if self.get("n") is not None:
            parts.append(f"{self['n']} samples")
        return " · ".join(str(part) for part in parts if part is not None) or dict.__repr__(self)


def metric_of(rows: list[Row]) -> str:
    """Return the main metric of rows: fid, else the first fd_<extractor>, else energy, else another distance.

    Raises:
        FastdiffError: if no row has a distance.
    """
    present = [name for name in _present(current_rows(rows)) if family(name) in MAIN_METRICS]
    if not present:
        raise FastdiffError(
            "no metric in these rows: expected fid, fd_<extractor>, energy or another distance; run the "
            "benchmark again with one"
        )
    return min(present, key=lambda name: MAIN_METRICS.index(family(name)))


def metrics_of(rows: list[Row]) -> list[str]:
    """Return the metrics that any row has: that of `metric_of` first, the others in the order of FAMILIES."""
    main = metric_of(rows)
    order = list(FAMILIES)
    others = _present(current_rows(rows)).keys() - {main}
    return [main, *sorted(others, key=lambda name: (order.index(family(name)), name))]


def _present(rows: Iterable[Row]) -> dict[str, None]:
    """Return the metrics that rows have, as the keys of a dict, in order of appearance."""
    names = (name for row in rows for name, value in row.items() if value is not None)
    return dict.fromkeys(name for name in names if is_metric(name))


def current_rows(rows: list[Row]) -> list[Row]:
    """Return the rows that are up to date.

    For each cell these are the rows with the same weights, data and feature networks as its last row, and
    for each seed the last of them.
    """
    newest = {_cell(row): _made(row) for row in rows}
    held = [row for row in rows if _made(row) == newest[_cell(row)]]
    return list({(_cell(row), row.get("seed")): row for row in held}.values())


def summary(rows: list[Row]) -> list[Group]:
    """Return one group for each cell: the means over its seeds.

    Teachers come first, then students by model in the order of rows, then by NFE.

    Args:
        rows: rows of bench.jsonl, in order.

    Returns:
        The groups. In addition to the fields of a row a group has
            seeds: seeds of its rows.
            m, m_std, m_ci, m_min: for each metric m its mean over seeds, standard deviation, half-width of
                the 95 % interval (both None if unknown), and minimum.
            figures: text of the mean and the interval by metric; figure: that of the main metric.
            bests: metrics in which the group is the best among groups of equal steps and n; best: whether it
                is the best in the main metric.
            broken: samples that were not finite.
            teacher: whether the model is the teacher.
            family: model without its number of steps (progressive-4 -> progressive).
            solver: sampler, with what distinguishes the group from the model's others with that sampler.
            line: name of the group's curve.
            gain: main metric of the teacher's DDIM at the same steps and n, divided by the group's (only
                for students).

    Raises:
        FastdiffError: if no row has a distance, or if a row lacks model, sampler, steps or n.
    """
    metrics = metrics_of(rows)
    cells: dict[tuple, list[Row]] = {}
    for row in current_rows(rows):
        if missing := [name for name in ("model", "sampler", "steps", "n") if row.get(name) is None]:
            raise FastdiffError(
                f"row {row.get('key')}: {missing[0]} is missing; delete that line and run the benchmark again"
            )
        cells.setdefault(_cell(row), []).append(row)
    groups = [_mean(cell, metrics) for cell in cells.values()]
    for group in groups:
        kin = [other for other in groups if other["model"] == group["model"]]
        single = len({other["steps"] for other in kin}) == 1
        group["family"] = group["model"].removesuffix(f"-{group['steps']}") if single else group["model"]
        group["solver"] = _solver(group, [other for other in kin if other["sampler"] == group["sampler"]])
        looks_like_one = group["model"] == "teacher" or group.get("method") in (None, "denoising")
        group["teacher"] = group.get("teacher", looks_like_one)  # early rows lack the field
    for group in groups:
        solvers = {other["solver"] for other in groups if other["family"] == group["family"]}
        named = group["teacher"] or len(solvers) > 1
        group["line"] = f"{group['family']} {group['solver']}" if named else group["family"]
        group.update(_standing(group, groups, metrics))
    families = list(dict.fromkeys(group["family"] for group in groups))

    def place(group: Group) -> tuple:
        number = families.index(group["family"])
        return not group["teacher"], number, group["solver"], group["nfe"] or 0, group["steps"]

    return sorted(groups, key=place)


def reference(groups: list[Group], metric: str, group: Group) -> Group | None:
    """Return the teacher's DDPM with the most steps, at the best guidance, if comparable with a group."""
    ddpm = [
        other
        for other in groups
        if other["teacher"]
        and other["sampler"] == "ddpm"
        and comparable(other, group)
        and finite(other[metric])
    ]
    return min(ddpm, key=lambda other: (-other["steps"], other[metric]), default=None)


def usual(groups: list[Group]) -> Group:
    """Return a group that is comparable with most of the others."""
    return next(group for group in groups if _judged(group) == mode(map(_judged, groups)))


def comparable(group: Group, other: Group) -> bool:
    """Return whether metrics of two groups can be compared: equal n, data and feature networks."""
    return _judged(group) == _judged(other)


def guided(groups: list[Group]) -> bool:
    """Return whether any group was sampled with guidance."""
    return any(group["guidance"] not in (None, 1) for group in groups)


def figure(mean: float | None, spread: float | None = None) -> str:
    """Format a number to three significant digits, and its spread to the same decimals: 24.1 ± 0.3."""
    if mean is None:
        return "–"
    if not math.isfinite(mean):
        return "diverged"
    spread_text = ""
    if 0 < abs(mean) < 10**-5 and not (spread and spread > 10**-5):
        if spread is not None:
            spread_text = f" ± {spread:.0e}"
        return f"{mean:.2e}{spread_text}"
    needed = [_decimals(number, digits) for number, digits in ((mean, 3), (spread, 1)) if number]
    decimals = min(max([0, *needed]), 6)
    if spread is not None:
        spread_text = f" ± {spread:.{decimals}f}"
    return f"{mean + 0.0:.{decimals}f}{spread_text}"


def _decimals(number: float, digits: int) -> int:
    """Return the number of decimals that show a number of significant digits; below 0 for large numbers."""
    exponent = int(f"{number:.{digits - 1}e}".split("e")[1])
    return digits - 1 - exponent


def ratio(times: float) -> str:
    """Format a ratio to two significant digits, and a large one without decimals: 0.85, 1.3, 410."""
    return f"{times:,.0f}" if times >= 10 else f"{times:.1f}" if times >= 1 else f"{times:.2g}"


def finite(value: float | None) -> bool:
    """Return whether a value is a finite number: neither missing nor diverged."""
    return value is not None and math.isfinite(value)


def _cell(row: Row) -> tuple:
    """Return the values that are equal in rows that differ only in their seed."""
    return tuple(row.get(name) for name in CELL_FIELDS)


def _made(row: Row) -> tuple:
    """Return the fingerprints of the weights, data and feature networks of a row."""
    return tuple(row.get(name) for name in ORIGIN_FIELDS)


def _judged(group: Group) -> tuple:
    """Return the values that must be equal for metrics to be compared."""
    return tuple(group.get(name) for name in COMPARISON_FIELDS)


def _mean(rows: list[Row], metrics: list[str]) -> Group:
    """Return the group of a cell's rows: means of metrics and costs, other fields as in the last row."""
    group = dict.fromkeys((*CELL_FIELDS, *COST_FIELDS, *metrics))
    group.update({name: value for name, value in rows[-1].items() if name not in ("key", "seed", "time")})
    group["seeds"] = [row.get("seed") for row in rows]
    group["broken"] = [f"sample {i} of seed {row.get('seed')}" for row in rows for i in row.get("broken", ())]
    averaged = [metric + suffix for metric in metrics for suffix in ("", "_se", "_inf")]
    for name in (*COST_FIELDS, *averaged):
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            group[name] = fmean(values)
        if name in metrics:
            group.update(_spread(name, values, group.get(f"{name}_se")))
    group["figures"] = {name: figure(group[name], group[f"{name}_ci"]) for name in metrics}
    group["figure"] = group["figures"][metrics[0]]
    return group


def _spread(name: str, values: list[float], error: float | None) -> dict[str, float | None]:
    """Return {std, ci, min} of a metric over its seeds; with one seed, ci is 1.96 standard errors."""
    from scipy.special import stdtrit  # slow to import, and not needed to read the file

    seeds = len(values)
    known = [value for value in values if finite(value)]
    std = stdev(values) if seeds > 1 and len(known) == seeds else None
    ci = 1.96 * error if seeds == 1 and known and finite(error) else None
    if std is not None:
        ci = float(stdtrit(seeds - 1, 0.975)) * std / math.sqrt(seeds)
    return {f"{name}_std": std, f"{name}_ci": ci, f"{name}_min": min(known, default=None)}


def _solver(group: Group, kin: list[Group]) -> str:
    """Return the sampler and guidance of a group, and spacing, clip and n if these differ among its kin."""

    def differs(name: str) -> bool:
        return len({other[name] for other in kin}) > 1

    parts = [group["sampler"]]
    if differs("spacing"):
        parts.append(group["spacing"])
    if group["guidance"] not in (None, 1):
        parts.append(f"w={group['guidance']:g}")
    if group["clip"] and differs("clip"):
        parts.append(f"clip={group['clip']:g}")
    if differs("n"):
        parts.append(f"n={group['n']}")
    return " ".join(map(str, parts))


def _standing(group: Group, groups: list[Group], metrics: list[str]) -> dict[str, Any]:
    """Return {gain, bests, best} of a group among the comparable groups of equal steps."""
    rivals = [other for other in groups if other["steps"] == group["steps"] and comparable(other, group)]
    bests = [name for name in metrics if _leads(group, rivals, name)]
    metric = metrics[0]
    ddim = [
        other[metric]
        for other in rivals
        if other["teacher"] and other["sampler"] == "ddim" and finite(other[metric])
    ]
    compares = not group["teacher"] and ddim and finite(group[metric]) and group[metric] > 0
    gain = min(ddim) / group[metric] if compares else None  # relative to the best of several spacings
    return {"gain": gain, "bests": bests, "best": metric in bests}


def _leads(group: Group, rivals: list[Group], name: str) -> bool:
    """Return whether a group has the best value of a metric, and the groups differ in it."""
    values = {other[name] for other in rivals if finite(other[name])}
    first = min if better(name) == "lower" else max
    return family(name) not in UNRANKED_FAMILIES and len(values) > 1 and group[name] == first(values)
