"""A summary of a benchmark's rows: means over seeds, spreads, ratios and ranks."""

import math
from statistics import fmean, mode, stdev

from ..core.errors import FastdiffError
from .metric_names import FAMILIES, MAIN, UNRANKED, better, family, is_metric

MADE = ("weights", "reference", "extractor")  # what must be alike for rows of a cell to be averaged
CELL = (
    "model",
    "sampler",
    "spacing",
    "steps",
    "guidance",
    "clip",
    "n",
)  # what rows share that differ in their seed alone
ALIKE = ("n", "reference", "extractor")  # what figures must share to be compared
COSTS = ("nfe", "ms_per_image", "images_per_s", "peak_mb", "flops_per_image")


def metric_of(rows: list[dict]) -> str:
    """The figure that a report is about: fid, else the first fd_<extractor>, else energy, else another distance."""
    present = [name for name in _present(current_rows(rows)) if family(name) in MAIN]
    if not present:
        raise FastdiffError(
            "no metric in these rows: expected fid, fd_<extractor>, energy or another distance; bench again "
            "with one"
        )
    return min(present, key=lambda name: MAIN.index(family(name)))


def metrics_of(rows: list[dict]) -> list[str]:
    """Every metric that some row has, the one of `metric_of` first, then in the order of FAMILIES."""
    main = metric_of(rows)
    order = list(FAMILIES)
    return [
        main,
        *sorted(
            _present(current_rows(rows)).keys() - {main}, key=lambda name: (order.index(family(name)), name)
        ),
    ]


def _present(rows):
    """The metrics that rows have, as keys in order of appearance; what ends in a SUFFIX goes with one of them."""
    names = (name for row in rows for name, value in row.items() if value is not None)
    return dict.fromkeys(name for name in names if is_metric(name))


def current_rows(rows: list[dict]) -> list[dict]:
    """The rows that still hold: of each cell those made as its last row was, of each seed the last of them."""
    made = lambda row: [row.get(name) for name in MADE]  # noqa: E731
    newest = {_cell(row): made(row) for row in rows}
    held = [row for row in rows if made(row) == newest[_cell(row)]]
    return list({(_cell(row), row.get("seed")): row for row in held}.values())


def summary(rows: list[dict]) -> list[dict]:
    """One group a cell: means over seeds, teachers first, then students by model in row order, by NFE.

    Beside the fields of a row a group has `seeds`; of each metric m: m, its mean over them, `m_std`, `m_ci`,
    the half of its 95 % interval, both None where unknown, `m_min`; `figures`, each m and its interval as
    text, and `figure`, the main one's; `bests`, the metrics in which it leads those of its steps and n, and
    `best`, whether in the main one; `broken`, the samples that were not finite; `teacher`; `family`, the
    model without its step count (progressive-4 -> progressive); `solver`, the sampler and what tells it from
    its like; `line`, the name of its curve; `gain`, how many times the teacher's DDIM at the same steps and n
    is worse (students only).
    """
    metrics = metrics_of(rows)
    cells = {}
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
        alike = group["model"] == "teacher" or group.get("method") in (None, "denoising")
        group["teacher"] = group.get("teacher", alike)  # rows of earlier days do not say
    for group in groups:
        solvers = {other["solver"] for other in groups if other["family"] == group["family"]}
        named = group["teacher"] or len(solvers) > 1
        group["line"] = f"{group['family']} {group['solver']}" if named else group["family"]
        group |= _standing(group, groups, metrics)
    order = {family: place for place, family in enumerate(dict.fromkeys(group["family"] for group in groups))}
    return sorted(
        groups, key=lambda g: (not g["teacher"], order[g["family"]], g["solver"], g["nfe"] or 0, g["steps"])
    )


def reference(groups: list[dict], metric: str, group: dict) -> dict | None:
    """What a group aims at: the teacher's DDPM with the most steps, judged alike; of several guidances the best."""
    ddpm = [
        g for g in groups if g["teacher"] and g["sampler"] == "ddpm" and alike(g, group) and finite(g[metric])
    ]
    return min(ddpm, key=lambda g: (-g["steps"], g[metric]), default=None)


def usual(groups: list[dict]) -> dict:
    """A group that is judged as most of them are."""
    return next(group for group in groups if _judged(group) == mode(map(_judged, groups)))


def _judged(group):
    return tuple(group.get(name) for name in ALIKE)


def alike(group: dict, other: dict) -> bool:
    """Whether the figures of two groups compare: of as many samples, by the same network, with the same data."""
    return _judged(group) == _judged(other)


def figure(mean: float | None, spread: float | None = None) -> str:
    """A number to three digits and its spread to the same decimals: 24.1 ± 0.3."""
    if mean is None:
        return "–"
    if not math.isfinite(mean):
        return "diverged"
    exponents = [
        (digits, int(f"{x:.{digits - 1}e}".split("e")[1])) for x, digits in ((mean, 3), (spread, 1)) if x
    ]
    decimals = min(max([0, *(digits - 1 - exponent for digits, exponent in exponents)]), 6)
    if 0 < abs(mean) < 10**-5 and not (spread and spread > 10**-5):
        return f"{mean:.2e}" + ("" if spread is None else f" ± {spread:.0e}")
    return f"{mean + 0.0:.{decimals}f}" + ("" if spread is None else f" ± {spread:.{decimals}f}")


def ratio(times: float) -> str:
    """How many times, to as many digits as are worth reading: 0.85, 1.3, 410."""
    return f"{times:,.0f}" if times >= 10 else f"{times:.1f}" if times >= 1 else f"{times:.2g}"


def finite(value: float | None) -> bool:
    """Whether there is a number: neither missing nor diverged."""
    return value is not None and math.isfinite(value)


def _cell(row):
    return tuple(row.get(name) for name in CELL)


def _mean(rows, metrics):
    """Rows of one cell as one: metrics, what goes with them and costs averaged over seeds, the rest as in the last row."""
    group = dict.fromkeys((*CELL, *COSTS, *metrics))
    group |= {name: value for name, value in rows[-1].items() if name not in ("key", "seed", "time")}
    group["seeds"] = [row.get("seed") for row in rows]
    group["broken"] = [f"sample {i} of seed {row.get('seed')}" for row in rows for i in row.get("broken", ())]
    for name in (*COSTS, *(metric + suffix for metric in metrics for suffix in ("", "_se", "_inf"))):
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            group[name] = fmean(values)
        if name in metrics:
            group |= _spread(name, values, group.get(f"{name}_se"))
    group["figures"] = {name: figure(group[name], group[f"{name}_ci"]) for name in metrics}
    group["figure"] = group["figures"][metrics[0]]
    return group


def _spread(name, values, error):
    """{std, ci, min} of one metric: over seeds where there are several, else the interval of the row's own error."""
    from scipy.special import stdtrit  # takes a moment to import, and the file alone does without it

    seeds, known = len(values), [value for value in values if finite(value)]
    std = stdev(values) if seeds > 1 and len(known) == seeds else None
    ci = 1.96 * error if seeds == 1 and known and finite(error) else None
    if std is not None:
        ci = float(stdtrit(seeds - 1, 0.975)) * std / math.sqrt(seeds)
    return {f"{name}_std": std, f"{name}_ci": ci, f"{name}_min": min(known, default=None)}


def _solver(group, kin):
    """The sampler, with the spacing and n where its kin differ in them, and any guidance."""
    parts = [group["sampler"]]
    parts += [group["spacing"]] if len({other["spacing"] for other in kin}) > 1 else []
    parts += [f"w={group['guidance']:g}"] if group["guidance"] not in (None, 1) else []
    parts += (
        [f"clip={group['clip']:g}"] if group["clip"] and len({other["clip"] for other in kin}) > 1 else []
    )
    parts += [f"n={group['n']}"] if len({other["n"] for other in kin}) > 1 else []
    return " ".join(map(str, parts))


def _standing(group, groups, metrics):
    """How a group stands among those of its steps that are judged alike: {gain, bests, best}."""
    rivals = [g for g in groups if g["steps"] == group["steps"] and alike(g, group)]
    bests = [name for name in metrics if _leads(group, rivals, name)]
    metric = metrics[0]
    ddim = [g[metric] for g in rivals if g["teacher"] and g["sampler"] == "ddim" and finite(g[metric])]
    compares = not group["teacher"] and ddim and finite(group[metric]) and group[metric] > 0
    gain = min(ddim) / group[metric] if compares else None  # of several spacings the strongest baseline
    return {"gain": gain, "bests": bests, "best": metric in bests}


def _leads(group, rivals, name):
    values = {g[name] for g in rivals if finite(g[name])}  # alike in all, it tells none apart
    first = min if better(name) == "lower" else max
    return family(name) not in UNRANKED and len(values) > 1 and group[name] == first(values)
