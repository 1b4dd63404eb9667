"""The texts of a report: verdict, notes on how to read its figures, warnings, and provenance."""

from ..metric_names import family
from ..summary import COMPARISON_FIELDS, comparable, current_rows, figure, finite, guided, ratio, reference

FEW_STEPS = 4
CLOSE_FACTOR = 1.1  # values up to this multiple of the best count as equally good
MAX_BIAS = 0.1  # fraction of a Fréchet distance that is bias, above which there is a warning


def verdict(groups: list[dict], metric: str) -> str:
    """Return the summary of a report: the best few-step student, next to the teacher.

    The student is the one with the lowest value at four steps or fewer, unless another one within a tenth of
    it takes fewer steps; if none takes so few steps, the best at the fewest steps. Of several n the largest
    counts. The teacher's values are those of DDIM at the student's steps, and of its DDPM with the most
    steps, or without such a DDPM those of its best sampler.

    Args:
        groups: groups from `summary`.
        metric: metric that is compared.
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
    best = _foremost(students, metric)
    few = "few-step student" if best["steps"] <= FEW_STEPS else "student"
    text = f"Best {few}: {best['line']}, {steps_in_words(best)}, {metric} {best['figure']}."
    values = []
    if best["gain"]:
        values.append(f"{figure(best['gain'] * best[metric])} with DDIM at {steps_in_words(best)}")
    if aim := reference(groups, metric, best):
        weight = aim["guidance"]
        scale = "" if weight in (None, 1) else f" and w={weight:g}"
        values.append(f"{aim['figure']} with DDPM at {steps_in_words(aim)}{scale}{_duration(aim, best)}")
    elif rivals := [group for group in teachers if comparable(group, best)]:
        aim = min(rivals, key=lambda g: g[metric])
        sampler = f"its best sampler, {aim['solver']} at {steps_in_words(aim)}"
        values.append(f"{aim['figure']} with {sampler}{_duration(aim, best)}")
    return f"{text} Teacher: {', '.join(values)}." if values else text


def notes(groups: list[dict], metrics: list[str]) -> list[str]:
    """Return lines on how to read the figures, and on which of them can be compared."""
    sizes = " and ".join(dict.fromkeys(str(group["n"]) for group in groups))
    kinds = {family(metric) for metric in metrics}
    lines = [
        "↓ lower, ↑ higher is better. Green or bold: the best value at its number of steps, among rows of "
        f"equal n (here n = {sizes})."
    ]
    if kinds & {"fid", "fd", "sfid", "sfd"}:
        lines.append(
            "A small n biases a Fréchet distance upward: compare only values of equal n, extractor and "
            "reference."
        )
    if any(f"{metric}_inf" in group for group in groups for metric in metrics):
        lines.append(
            "n→∞: the distance extrapolated from smaller sets of the same samples; less biased and less "
            "certain."
        )
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
    return [
        *lines,
        nfe,
        "“vs DDIM” is the value of the teacher's DDIM at the same number of steps, divided by the row's.",
    ]


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
