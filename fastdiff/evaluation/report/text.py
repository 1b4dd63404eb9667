"""The words of a report: the verdict, how to read its figures, what speaks against them, their provenance."""

from ..metric_names import family
from ..summary import COMPARISON_FIELDS, comparable, current_rows, figure, finite, ratio, reference

FEW_STEPS = 4
CLOSE_FACTOR = 1.1  # times the best figure: as good, if it takes fewer steps
MAX_BIAS = 0.1  # fraction of a Fréchet distance owed to n from which on there is a warning


def verdict(groups: list[dict], metric: str) -> str:
    """Return the report in one sentence: the best student of few steps against the teacher's longest DDPM.

    Without such a DDPM it is compared with the teacher's best. The student is the one with the lowest figure
    at four steps or fewer, unless one within a tenth of it takes fewer still; if none takes so few, those at
    the fewest steps compete. Of several n the largest counts.

    Args:
        groups: those of `summary`.
        metric: the figure.
    """
    students = [group for group in groups if not group["teacher"] and finite(group[metric])]
    teachers = [group for group in groups if group["teacher"] and finite(group[metric])]
    if not students and not teachers:
        return f"No finite {metric} in these rows."
    if not students:
        best = min(teachers, key=lambda g: g[metric])
        standing = f"{best['solver']} at {steps_in_words(best)}, {metric} {best['figure']}"
        return f"No student with a finite {metric}; the teacher's best is {standing}."
    best = _foremost(students, metric)
    text = f"{best['line']} at {steps_in_words(best)}: {metric} {best['figure']}"
    if aim := reference(groups, metric, best):
        weight = aim["guidance"]
        guided = "" if weight in (None, 1) else f" at w={weight:g}"
        text += _against(best, aim, metric, f"the teacher's DDPM-{aim['steps']}{guided}")
    elif rivals := [group for group in teachers if comparable(group, best)]:
        aim = min(rivals, key=lambda g: g[metric])
        text += _against(best, aim, metric, f"the teacher's best, {aim['solver']} at {steps_in_words(aim)},")
    if best["gain"]:
        text += (
            f"; the teacher's DDIM at {steps_in_words(best)} stands at {figure(best['gain'] * best[metric])}"
        )
    return text + "."


def notes(groups: list[dict], metrics: list[str]) -> list[str]:
    """Return lines on how to read the figures, and with what they must not be compared."""
    sizes = " and ".join(dict.fromkeys(str(group["n"]) for group in groups))
    kinds = {family(metric) for metric in metrics}
    lines = [
        "↓ lower, ↑ higher is better. Green or bold: the best at its number of steps, among rows of equal n "
        f"(here n = {sizes})."
    ]
    if kinds & {"fid", "fd", "sfid", "sfd"}:
        lines.append(
            "A small n biases a Fréchet distance upward, so only figures of equal n, extractor and reference "
            "compare."
        )
    if any(f"{metric}_inf" in group for group in groups for metric in metrics):
        lines.append(
            "n→∞: the distance extrapolated from smaller sets of the same samples; less biased, and less "
            "sure."
        )
    if kinds & {"diversity", "nearest"}:
        lines.append(
            "diversity and nearest are high for samples unlike any data too: read them beside a distance."
        )
    if any(finite(group[f"{metric}_ci"]) for group in groups for metric in metrics):
        lines.append(
            "± is the half-width of a 95 % t-interval over seeds, disjoint sets of samples; it does not "
            "contain the spread between trainings. With one seed it is 1.96 standard errors, of those "
            "metrics that know theirs."
        )
    return [
        *lines,
        "NFE is measured: network evaluations an image. A guided step counts two, of a model that is told "
        "its guidance one.",
        "“vs DDIM” is the teacher's DDIM figure at the same number of steps, divided by the row's.",
    ]


def warnings(groups: list[dict], metric: str) -> list[str]:
    """Return lines on what speaks against the figures."""
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
                f"{group['line']} at {steps_in_words(group)} made values that are not finite: {broken}."
            )
    return lines


def provenance(rows: list[dict]) -> dict[str, str]:
    """Return the facts that made the figures, by name."""
    names = ("extractor", "reference", "n", "seed", "ema", "device", "processes", "versions", "commit")
    facts = {name: _listed(current_rows(rows), name) for name in names}
    times = sorted(row["time"] for row in rows if row.get("time"))
    facts["time"] = " to ".join(dict.fromkeys((times[0], times[-1]))) if times else ""
    return {name: value for name, value in facts.items() if value}


def _foremost(students: list[dict], metric: str) -> dict:
    """Return the student that the verdict is about."""
    limit = max(FEW_STEPS, min(group["steps"] for group in students))
    n = max(group["n"] for group in students if group["steps"] <= limit)
    few = [group for group in students if group["steps"] <= limit and group["n"] == n]
    bound = min(group[metric] for group in few)
    close = [
        group for group in few if group[metric] <= max(bound, CLOSE_FACTOR * bound)
    ]  # energy may lie below 0
    return min(close, key=lambda g: (g["steps"], g[metric]))


def _against(group: dict, aim: dict, metric: str, name: str) -> str:
    """Return `, 1.3 x the 5.5 ± 0.2 of <name> at 1/410 of its time`, as far as the two compare."""
    text = f", {ratio(group[metric] / aim[metric])} x" if min(group[metric], aim[metric]) > 0 else ", against"
    text += f" the {aim['figure']} of {name}"
    time = group["ms_per_image"]
    other = aim["ms_per_image"]
    same_machine = all(group.get(key) == aim.get(key) for key in ("device", "processes", "batch"))
    if time and other and same_machine:
        faster = other / time
        text += f" at 1/{ratio(faster)} of its time" if faster >= 1 else f" at {ratio(1 / faster)} x its time"
    return text.rstrip(",")


def _mixed(groups: list[dict]) -> list[str]:
    """Return a line if some groups were judged by other data or another network than others."""
    differing = [
        name for name in COMPARISON_FIELDS if name != "n" and len({group.get(name) for group in groups}) > 1
    ]
    if not differing:
        return []
    names = " and ".join(differing)
    return [f"These rows differ in {names}: only those alike are compared, bench the others again."]


def _singular(groups: list[dict], metric: str) -> list[str]:
    """Return a line for each n of a Fréchet distance that is not above the number of features."""
    if family(metric) not in ("fid", "fd"):
        return []
    sizes = dict.fromkeys(
        (g["n"], g["dims"], g.get("extractor") or "the features") for g in groups if g.get("dims")
    )
    return [
        f"n = {n} is {'below' if n < dims else 'only'} the {dims} dimensions of {extractor}: the covariance "
        "is singular and the figure is mostly bias."
        for n, dims, extractor in sizes
        if n <= dims
    ]


def _biased(groups: list[dict], metric: str) -> list[str]:
    """Return a line for each n at which the figure is far above its extrapolation."""
    companion = f"{metric}_inf"
    known = [g for g in groups if finite(g[metric]) and finite(g.get(companion)) and g[metric] > 0]
    biases = [(1 - group[companion] / group[metric], group) for group in known]
    worst: dict[int, tuple[float, dict]] = {}
    for bias, group in sorted(biases, key=lambda pair: pair[0]):
        worst[group["n"]] = (bias, group)
    return [
        f"At n = {n} up to {100 * min(bias, 1):.0f} % of {metric} is bias ({group['line']} at "
        f"{steps_in_words(group)}: {figure(group[metric])}, and {figure(group[companion])} for n→∞): only "
        "figures of equal n compare."
        for n, (bias, group) in worst.items()
        if bias > MAX_BIAS
    ]


def steps_in_words(group: dict) -> str:
    """Return `1 step` or `4 steps`."""
    return f"{group['steps']} step" if group["steps"] == 1 else f"{group['steps']} steps"


def _listed(rows: list[dict], name: str) -> str:
    """Return the distinct values that rows have under a name, in order, as text."""
    values = [row[name] for row in rows if row.get(name) is not None]
    texts = [", ".join(f"{k} {v}" for k, v in v.items()) if isinstance(v, dict) else str(v) for v in values]
    return ("; " if any(", " in text for text in texts) else ", ").join(dict.fromkeys(texts))
