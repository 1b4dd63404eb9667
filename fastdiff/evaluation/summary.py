"""The summary of a benchmark's rows: means over seeds, intervals, and differences."""

from collections.abc import Iterable
from statistics import fmean, stdev
from typing import Any

from ..core.errors import FastdiffError
from .comparison import (
    Group,
    comparable,
    ddim,
    difference,
    figure_name,
    half_width,
    reference,
    standings,
    usual,
)
from .formatting import figure, finite
from .metric_names import FAMILIES, MAIN_METRICS, family, is_metric

REAL = "real data, held out"  # the model of rows that compare real data with real data
ORIGIN_FIELDS = ("weights", "reference", "extractor")  # must be equal for rows of a cell to be averaged
# equal in rows that differ only in their seed
CELL_FIELDS = ("model", "sampler", "spacing", "steps", "guidance", "clip", "n")
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
            metric = _main_metric([self])
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
    return _main_metric(models_only(current_rows(rows)))


def _main_metric(rows: list[Row]) -> str:
    """Return the main metric of rows, see `metric_of`."""
    present = [name for name in _present(rows) if family(name) in MAIN_METRICS]
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
    others = _present(models_only(current_rows(rows))).keys() - {main}
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
            m, m_std, m_ci, m_min: for each metric m, and its extrapolation m_inf to infinitely many samples,
                the mean over seeds, standard deviation, half-width of the 95 % interval (both None if
                unknown), and minimum.
            values: for each metric its finite value by seed.
            figures: text of the mean and the interval by metric; figure: that of the main metric.
            bests, equals: metrics in which the group is the best among groups of equal steps and n, or in
                which it and others are not distinguished from the best; see `comparison.standings`.
            differences: differences of the main metric from the teacher's DDPM with the most steps ("ddpm"),
                from its DDIM at the same steps ("ddim") and from real data ("real"), as (difference,
                half-width of the 95 % interval or None); by the figures for infinitely many samples if all
                groups have them. The key is missing where there is no such row, or where it is this group.
            broken: samples that were not finite.
            teacher: whether the model is the teacher.
            family: model without its number of steps (progressive-4 -> progressive).
            solver: sampler, with what distinguishes the group from the model's others with that sampler.
            line: name of the group's curve.
            real: whether the rows are of real data; here always False, see `real_data`.

    Raises:
        FastdiffError: if no row has a distance, or if a row lacks model, sampler, steps or n.
    """
    metrics = metrics_of(rows)
    cells: dict[tuple, list[Row]] = {}
    for row in models_only(current_rows(rows)):
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
    names = [name + suffix for name in metrics for suffix in ("", "_inf")]
    main = figure_name(groups, metrics[0])
    for group, standing in zip(groups, standings(groups, names)):
        group.update(standing)
        others = {
            "ddpm": reference(groups, metrics[0], group),
            "ddim": ddim(groups, metrics[0], group),
            "real": real_data(rows, group, metrics),
        }
        found = {
            name: difference(group, one, main)
            for name, one in others.items()
            if one is not None and one is not group
        }
        group["differences"] = {name: apart for name, apart in found.items() if apart}
    families = list(dict.fromkeys(group["family"] for group in groups))

    def place(group: Group) -> tuple:
        number = families.index(group["family"])
        return not group["teacher"], number, group["solver"], group["nfe"] or 0, group["steps"]

    return sorted(groups, key=place)


def models_only(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of models, without those of real data."""
    return [row for row in rows if row.get("model") != REAL]


def real_data(rows: list[Row], group: Group, metrics: list[str]) -> Group | None:
    """Return the mean of the rows that compare real data with real data, for comparison with a group.

    Args:
        rows: rows of bench.jsonl, in order.
        group: group with the n, data and feature networks that the rows must have.
        metrics: names of metrics, the main one first.

    Returns:
        A group with the fields of `summary` that do not depend on a sampler; None without such rows.
    """
    real = current_rows([row for row in rows if row.get("model") == REAL])
    same = [row for row in real if comparable(row, group)]
    if not same:
        return None
    names = {"line": REAL, "family": REAL, "solver": "–", "teacher": False}
    return _mean(same, metrics) | names | {"real": True, "bests": [], "equals": [], "differences": {}}


def real_groups(rows: list[Row], groups: list[Group], metrics: list[str]) -> list[Group]:
    """Return the groups of real data, one for each n, data and feature networks that groups have."""
    found = [real_data(rows, group, metrics) for group in groups]
    distinct: list[Group] = []
    for real in found:
        if real and not any(comparable(real, other) for other in distinct):
            distinct.append(real)
    return distinct


def usual_real(reals: list[Group], groups: list[Group]) -> Group | None:
    """Return the group of real data that is comparable with most groups; None without one."""
    return next((real for real in reals if comparable(real, usual(groups))), None)


def guided(groups: list[Group]) -> bool:
    """Return whether any group was sampled with guidance."""
    return any(group["guidance"] not in (None, 1) for group in groups)


def _cell(row: Row) -> tuple:
    """Return the values that are equal in rows that differ only in their seed."""
    return tuple(row.get(name) for name in CELL_FIELDS)


def _made(row: Row) -> tuple:
    """Return the fingerprints of the weights, data and feature networks of a row."""
    return tuple(row.get(name) for name in ORIGIN_FIELDS)


def _mean(rows: list[Row], metrics: list[str]) -> Group:
    """Return the group of a cell's rows: means of metrics and costs, other fields as in the last row."""
    group = dict.fromkeys((*CELL_FIELDS, *COST_FIELDS, *metrics))
    group.update({name: value for name, value in rows[-1].items() if name not in ("key", "seed", "time")})
    group["seeds"] = [row.get("seed") for row in rows]
    group["broken"] = [f"sample {i} of seed {row.get('seed')}" for row in rows for i in row.get("broken", ())]
    group["real"] = False
    group["values"] = {}
    inferred = [f"{metric}_inf" for metric in metrics if any(f"{metric}_inf" in row for row in rows)]
    averaged = [*metrics, *inferred]
    for name in (*COST_FIELDS, *(f"{metric}_se" for metric in metrics), *averaged):
        values = {row.get("seed"): row[name] for row in rows if row.get(name) is not None}
        if values:
            group[name] = fmean(values.values())
        if name in averaged:
            group["values"][name] = values
            group.update(_spread(name, list(values.values()), group.get(f"{name}_se")))
    group["figures"] = {name: figure(group.get(name), group[f"{name}_ci"]) for name in averaged}
    group["figure"] = group["figures"][metrics[0]]
    return group


def _spread(name: str, values: list[float], error: float | None) -> dict[str, float | None]:
    """Return {std, ci, min} of a figure over its seeds; with one seed, ci is 1.96 standard errors."""
    known = [value for value in values if finite(value)]
    ci = half_width(values)
    if len(values) == len(known) == 1 and finite(error):
        ci = 1.96 * error
    std = stdev(values) if len(values) == len(known) > 1 else None
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
