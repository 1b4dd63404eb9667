"""A summary of a benchmark's rows: means over seeds, spreads, ratios and ranks."""

import math
from collections.abc import Iterable
from statistics import fmean, mode, stdev
from typing import Any

from ..core.errors import FastdiffError
from .metric_names import FAMILIES, MAIN_METRICS, UNRANKED_FAMILIES, better, family, is_metric

Row = dict[str, Any]  # a line of bench.jsonl
Group = dict[str, Any]  # the rows of a cell as one, as `summary` returns them

ORIGIN_FIELDS = ("weights", "reference", "extractor")  # must be equal for rows of a cell to be averaged
# what rows share that differ in their seed alone
CELL_FIELDS = ("model", "sampler", "spacing", "steps", "guidance", "clip", "n")
COMPARISON_FIELDS = ("n", "reference", "extractor")  # must be equal for metrics to be compared
COST_FIELDS = ("nfe", "ms_per_image", "images_per_s", "peak_mb", "flops_per_image")


def metric_of(rows: list[Row]) -> str:
    """Return a report's main metric: fid, else the first fd_<extractor>, else energy, else another distance.

    Raises:
        FastdiffError: if no row has a distance.
    """
    present = [name for name in _present(current_rows(rows)) if family(name) in MAIN_METRICS]
    if not present:
        raise FastdiffError(
            "no metric in these rows: expected fid, fd_<extractor>, energy or another distance; bench again "
            "with one"
        )
    return min(present, key=lambda name: MAIN_METRICS.index(family(name)))


def metrics_of(rows: list[Row]) -> list[str]:
    """Return every metric that some row has, the one of `metric_of` first, then in the order of FAMILIES."""
    main = metric_of(rows)
    order = list(FAMILIES)
    others = _present(current_rows(rows)).keys() - {main}
    return [main, *sorted(others, key=lambda name: (order.index(family(name)), name))]


def _present(rows: Iterable[Row]) -> dict[str, None]:
    """Return the metrics that rows have, as keys in order of appearance."""
    names = (name for row in rows for name, value in row.items() if value is not None)
    return dict.fromkeys(name for name in names if is_metric(name))


def current_rows(rows: list[Row]) -> list[Row]:
    """Return the rows that still hold.

    Of each cell these are the rows made with the same weights, data and feature networks as its last row, and
    of each seed the last of them.
    """
    newest = {_cell(row): _made(row) for row in rows}
    held = [row for row in rows if _made(row) == newest[_cell(row)]]
    return list({(_cell(row), row.get("seed")): row for row in held}.values())


def summary(rows: list[Row]) -> list[Group]:
    """Return one group per cell, of means over its seeds.

    Teachers come first, then students by model in the order of rows, then by NFE. In addition to the
    fields of a row a group has
        seeds: the seeds of its rows.
        m, m_std, m_ci, m_min: of each metric m its mean over them, standard deviation, half of its 95 %
            interval (both None if unknown), and minimum.
        figures: each m and its interval as text; figure: the main one's.
        bests: the metrics in which it leads the groups of equal steps and n; best: whether it leads in the
            main one.
        broken: the samples that were not finite.
        teacher: whether it is the teacher's.
        family: the model without its number of steps (progressive-4 -> progressive).
        solver: the sampler and what distinguishes it from the model's other groups with that sampler.
        line: the name of its curve.
        gain: how many times the teacher's DDIM at the same steps and n is worse (students only).

    Raises:
        FastdiffError: if no row has a distance, or one lacks model, sampler, steps or n.
    """
    metrics = metrics_of(rows)
    cells: dict[tuple, list[Row]] = {}
    for row in current_rows(rows):
        if missing := [name for name in ("model", "sampler", "steps", "n") if row.get(name) is None]:
            raise FastdiffError(
                f"row {row.get('key')}: {missing[0]} is missing; delete that line and bench again"
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
    """Return the teacher's DDPM with the most steps, which a group aims at; of several guidances the best."""
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
    """Return a group that is judged like most of them."""
    return next(group for group in groups if _judged(group) == mode(map(_judged, groups)))


def comparable(group: Group, other: Group) -> bool:
    """Return whether two groups compare: as many samples, judged by the same networks with the same data."""
    return _judged(group) == _judged(other)


def figure(mean: float | None, spread: float | None = None) -> str:
    """Format a number to three digits, and its spread to the same decimals: 24.1 ± 0.3."""
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
    """Return the decimals that show some significant digits of a number, below 0 for large ones."""
    exponent = int(f"{number:.{digits - 1}e}".split("e")[1])
    return digits - 1 - exponent


def ratio(times: float) -> str:
    """Format a ratio to as many digits as are worth reading: 0.85, 1.3, 410."""
    return f"{times:,.0f}" if times >= 10 else f"{times:.1f}" if times >= 1 else f"{times:.2g}"


def finite(value: float | None) -> bool:
    """Return whether a value is a number, neither missing nor diverged."""
    return value is not None and math.isfinite(value)


def _cell(row: Row) -> tuple:
    """Return the values that rows share that differ in their seed alone."""
    return tuple(row.get(name) for name in CELL_FIELDS)


def _made(row: Row) -> tuple:
    """Return the weights, data and feature networks that a row was made with."""
    return tuple(row.get(name) for name in ORIGIN_FIELDS)


def _judged(group: Group) -> tuple:
    """Return the values that must be equal for metrics to be compared."""
    return tuple(group.get(name) for name in COMPARISON_FIELDS)


def _mean(rows: list[Row], metrics: list[str]) -> Group:
    """Return the rows of a cell as one: metrics and costs averaged over seeds, the rest as in the last."""
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
    """Return {std, ci, min} of a metric over its seeds; ci of one seed is that of its standard error."""
    from scipy.special import stdtrit  # slow to import, and not needed to read the file

    seeds = len(values)
    known = [value for value in values if finite(value)]
    std = stdev(values) if seeds > 1 and len(known) == seeds else None
    ci = 1.96 * error if seeds == 1 and known and finite(error) else None
    if std is not None:
        ci = float(stdtrit(seeds - 1, 0.975)) * std / math.sqrt(seeds)
    return {f"{name}_std": std, f"{name}_ci": ci, f"{name}_min": min(known, default=None)}


def _solver(group: Group, kin: list[Group]) -> str:
    """Return the sampler, any guidance, and the spacing, clip and n if the kin differ in them."""

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
    """Return {gain, bests, best} of a group among those of equal steps that compare with it."""
    rivals = [other for other in groups if other["steps"] == group["steps"] and comparable(other, group)]
    bests = [name for name in metrics if _leads(group, rivals, name)]
    metric = metrics[0]
    ddim = [
        other[metric]
        for other in rivals
        if other["teacher"] and other["sampler"] == "ddim" and finite(other[metric])
    ]
    compares = not group["teacher"] and ddim and finite(group[metric]) and group[metric] > 0
    gain = min(ddim) / group[metric] if compares else None  # of several spacings the strongest baseline
    return {"gain": gain, "bests": bests, "best": metric in bests}


def _leads(group: Group, rivals: list[Group], name: str) -> bool:
    """Return whether a group has the best value of a metric, one in which the groups differ."""
    values = {other[name] for other in rivals if finite(other[name])}
    first = min if better(name) == "lower" else max
    return family(name) not in UNRANKED_FAMILIES and len(values) > 1 and group[name] == first(values)
