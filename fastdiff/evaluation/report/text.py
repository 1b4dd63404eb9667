"""The texts of a report: verdict, notes on how to read its figures, warnings, and provenance."""

import re
from collections.abc import Iterable

from ..comparison import (
    COMPARISON_FIELDS,
    EQUAL,
    best_and_equal,
    comparable,
    ddim,
    difference,
    figure_name,
    reference,
)
from ..formatting import figure, finite, ratio
from ..metric_names import family
from ..summary import REAL, current_rows, guided, models_only

FEW_STEPS = 4
NAMED = 4  # most students that the verdict names as not distinguished from the best
MAX_BIAS = 0.1  # fraction of a Fréchet distance that is bias, above which there is a warning


def verdict(groups: list[dict], metric: str, real: dict | None = None) -> str:
    """Return the summary of a report: the best few-step student, and its differences from the others.

    The student is the one with the lowest value at four steps or fewer; if none takes so few steps, at the
    fewest steps. Of several n the largest counts. Values are those for infinitely many samples if all groups
    have them. The text names the students that are not distinguished from it.

    Args:
        groups: groups from `summary`.
        metric: metric that is compared.
        real: group of real data from `real_data`, for the student's n; None without one.
    """
    students = [group for group in groups if not group["teacher"] and finite(group[metric])]
    teachers = [group for group in groups if group["teacher"] and finite(group[metric])]
    if not students and not teachers:
        return f"No finite {metric} in these rows."
    if not students:
        best = min(teachers, key=lambda g: g[metric])
        return (
            f"No student with a finite {metric}. Teacher: {metric} {best['figure']} with its best sampler, "
            f"{best['solver']} at {steps_in_words(best)}."
        )
    name = figure_name(groups, metric)
    limit = max(FEW_STEPS, min(group["steps"] for group in students))
    n = max(group["n"] for group in students if group["steps"] <= limit)
    few = [group for group in students if group["steps"] <= limit and group["n"] == n]
    best, equal = best_and_equal(few, name)
    kind = f"{metric} for n→∞" if name != metric else metric
    which = "student" if len(few) == 1 else f"the smallest of students at {limit} steps or fewer"
    text = f"{best['line']}, {steps_in_words(best)}: {kind} {best['figures'][name]}, {which}."
    return " ".join(
        [text, *_undistinguished(best, equal, name), *_from_teacher(best, groups, metric, name, real)]
    )


def _undistinguished(best: dict, equal: list[dict], name: str) -> list[str]:
    """Return a sentence on the students that are not distinguished from the best."""
    comparisons = [difference(group, best, name) for group in equal]
    if equal and not any(apart and apart.half is not None for apart in comparisons):
        return ["With one seed there is no interval, and no student is distinguished from another."]
    others = [f"{group['line']}, {steps_in_words(group)}" for group in equal]
    more = f"; and {len(others) - NAMED} more" if len(others) > NAMED else ""
    return [f"Not distinguished from it: {'; '.join(others[:NAMED])}{more}."] if others else []


def _from_teacher(best: dict, groups: list[dict], metric: str, name: str, real: dict | None) -> list[str]:
    """Return a sentence on the differences of a student from the teacher and from real data."""
    found = []
    aim = reference(groups, metric, best)
    if own := ddim(groups, metric, best):
        found.append((f"the teacher's DDIM at {steps_in_words(best)}", own, ""))
    if aim:
        scale = "" if aim["guidance"] in (None, 1) else f" and w={aim['guidance']:g}"
        found.append((f"the teacher's DDPM at {steps_in_words(aim)}{scale}", aim, _duration(aim, best)))
    elif rivals := [g for g in groups if g["teacher"] and comparable(g, best) and finite(g[metric])]:
        aim = min(rivals, key=lambda g: g[metric])
        words = f"the teacher's best sampler, {aim['solver']} at {steps_in_words(aim)}"
        found = [pair for pair in found if pair[1] is not aim] + [(words, aim, _duration(aim, best))]
    if real:
        found.append((REAL, real, ""))
    apart = [(words, difference(best, other, name), time) for words, other, time in found]
    texts = [f"{value} from {words}{time}" for words, value, time in apart if value]
    return [f"Difference: {'; '.join(texts)}."] if texts else []


def notes(groups: list[dict], metrics: list[str], reals: Iterable[dict] = ()) -> list[str]:
    """Return lines on how to read the figures, and on which of them can be compared.

    Args:
        groups: groups from `summary`.
        metrics: names of metrics, the main one first.
        reals: groups of real data.
    """
    sizes = " and ".join(dict.fromkeys(str(group["n"]) for group in groups))
    kinds = {family(metric) for metric in metrics}
    lines = [
        "↓ lower, ↑ higher is better. Bold or green: the best value at its number of steps, among rows of "
        f"equal n (here n = {sizes}), if the 95 % interval of its difference from every other excludes 0. "
        f"{EQUAL}: not distinguished from the best; these have no order."
    ]
    if kinds & {"fid", "fd", "sfid", "sfd"}:
        lines.append(
            "A small n biases a Fréchet distance upward: compare only values of equal n, extractor and "
            "reference."
        )
    if pixels := next((metric for metric in metrics if re.fullmatch(r"[a-z]+_px\d+", metric)), None):
        side = pixels.partition("_px")[2]
        lines.append(
            f"px{side}: compared as images of {side} x {side} pixels, without a feature network; finer "
            "detail does not count."
        )
    if any(f"{metric}_inf" in group for group in groups for metric in metrics):
        lines.append(
            "n→∞: the distance extrapolated from smaller sets of the same samples; less biased and less "
            "certain. Distances of small n share a bias: their differences say more than their ratios."
        )
    if any(group["differences"] for group in groups):
        lines.append(
            "Differences are by n→∞ where all rows have it. Rows of equal seeds start from the same noise; "
            "the interval is a t-interval of their differences seed by seed. With fewer than two seeds there "
            f"is no interval. {EQUAL}: the interval contains 0."
        )
    lines += [_real_note(real) for real in reals]
    if kinds & {"diversity", "nearest"}:
        lines.append(
            "diversity and nearest are also high for samples that resemble no data: read them together with "
            "a distance."
        )
    if any(finite(group[f"{metric}_ci"]) for group in groups for metric in metrics):
        lines.append(
            "± is the half-width of a 95 % t-interval over seeds, disjoint sets of samples; it does not "
            "contain the spread between trainings. With one seed it is 1.96 standard errors, for metrics "
            "that have one."
        )
    nfe = "NFE is the measured number of network evaluations per image."
    if guided(groups):
        nfe += (
            " With classifier-free guidance a step costs 2 NFE, or 1 if the model takes the guidance weight "
            "as an input."
        )
    return [*lines, nfe]


def _real_note(real: dict) -> str:
    """Return a line on how a group of real data was made."""
    held = real.get("held_out") or {}
    examples, rest = held.get("examples"), held.get("reference")
    if held.get("split"):
        made = f"{examples} examples of the split {held['split']}, compared with the data"
        return f"{REAL}: {made}; n = {real['n']}."
    parts = f"{examples} and {rest} examples" + (" of equal classes" if held.get("by_class") else "")
    return (
        f"{REAL}: the data in two random parts, {parts}, compared with each other; the mean over "
        f"{len(real['seeds'])} such pairs. Both have one law, so the Fréchet distance is proportional to "
        f"1 / examples + 1 / reference, and is given at this rate for n = {real['n']} and the whole "
        "reference. Its other metrics are those of the parts. A model may come closer to the data than this "
        "line, since it has seen the reference."
    )


def warnings(groups: list[dict], metric: str) -> list[str]:
    """Return lines on why figures may be unreliable."""
    lines = _mixed(groups) + _singular(groups, metric) + _biased(groups, metric)
    single = [group for group in groups if len(group["seeds"]) == 1 and not finite(group[f"{metric}_ci"])]
    if single:
        every = len(single) == len(groups)
        cells = "Every cell has" if every else f"{len(single)} of {len(groups)} cells have"
        lines.append(f"{cells} a single seed: no interval for {metric}.")
    for group in groups:
        if group["broken"]:
            broken = ", ".join(group["broken"])
            lines.append(
                f"{group['line']} at {steps_in_words(group)} produced values that are not finite: {broken}."
            )
    return lines


def provenance(rows: list[dict]) -> dict[str, str]:
    """Return the origin of the figures, as facts by name."""
    names = ("extractor", "reference", "n", "seed", "ema", "device", "processes", "versions", "commit")
    facts = {name: _listed(models_only(current_rows(rows)), name) for name in names}
    times = sorted(row["time"] for row in rows if row.get("time"))
    facts["time"] = " to ".join(dict.fromkeys((times[0], times[-1]))) if times else ""
    return {name: value for name, value in facts.items() if value}


def _duration(aim: dict, group: dict) -> str:
    """Return `, which takes 322 times as long`, if the times of the two groups can be compared."""
    own, other = group["ms_per_image"], aim["ms_per_image"]
    same_machine = all(group.get(key) == aim.get(key) for key in ("device", "processes", "batch"))
    if not (own and other and same_machine):
        return ""
    return f", which takes {ratio(other / own)} times as long"


def _mixed(groups: list[dict]) -> list[str]:
    """Return a line if groups were measured with different data or feature networks."""
    differing = [
        name for name in COMPARISON_FIELDS if name != "n" and len({group.get(name) for group in groups}) > 1
    ]
    if not differing:
        return []
    names = " and ".join(differing)
    return [
        f"These rows differ in {names}: only rows in which these are equal are compared. Run the "
        "benchmark again for the others."
    ]


def _singular(groups: list[dict], metric: str) -> list[str]:
    """Return a line for each n of a Fréchet distance that does not exceed the number of features."""
    if family(metric) not in ("fid", "fd"):
        return []
    sizes = dict.fromkeys(
        (g["n"], g["dims"], g.get("extractor") or "the features") for g in groups if g.get("dims")
    )
    return [
        f"n = {n} is {'below' if n < dims else 'only'} the {dims} dimensions of {extractor}: the covariance "
        "is singular and the value is mostly bias."
        for n, dims, extractor in sizes
        if n <= dims
    ]


def _biased(groups: list[dict], metric: str) -> list[str]:
    """Return a line for each n at which a value is far above its extrapolation."""
    companion = f"{metric}_inf"
    known = [g for g in groups if finite(g[metric]) and finite(g.get(companion)) and g[metric] > 0]
    biases = [(1 - group[companion] / group[metric], group) for group in known]
    worst: dict[int, tuple[float, dict]] = {}
    for bias, group in sorted(biases, key=lambda pair: pair[0]):
        worst[group["n"]] = (bias, group)
    return [
        f"At n = {n} up to {100 * min(bias, 1):.0f} % of {metric} is bias ({group['line']} at "
        f"{steps_in_words(group)}: {figure(group[metric])}, and {figure(group[companion])} for n→∞): "
        "compare only values of equal n."
        for n, (bias, group) in worst.items()
        if bias > MAX_BIAS
    ]


def steps_in_words(group: dict) -> str:
    """Return `1 step` or `4 steps`."""
    return f"{group['steps']} step" if group["steps"] == 1 else f"{group['steps']} steps"


def _listed(rows: list[dict], name: str) -> str:
    """Return the distinct values of a key in rows, in order, as text."""
    values = [row[name] for row in rows if row.get(name) is not None]
    texts = [", ".join(f"{k} {v}" for k, v in v.items()) if isinstance(v, dict) else str(v) for v in values]
    return ("; " if any(", " in text for text in texts) else ", ").join(dict.fromkeys(texts))
