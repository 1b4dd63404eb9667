"""What a report says in words: the verdict, how to read its figures, what speaks against them, what made them."""

from ..metric_names import family
from ..summary import ALIKE, alike, current_rows, figure, finite, ratio, reference

FEW = 4  # steps
CLOSE = 1.1  # times the best figure: as good, where it takes fewer steps
BIASED = 0.1  # the share of a Fréchet distance that may be owed to n before a warning says so


def verdict(groups: list[dict], metric: str) -> str:
    """The report in one sentence: a student of few steps against the teacher's longest DDPM, else the teacher's best.

    The student is the one with the lowest figure at four steps or fewer, unless one that is within a tenth of
    it takes fewer still; where none takes so few, those at the fewest steps compete. Of several n the largest
    counts.
    """
    students = [group for group in groups if not group["teacher"] and finite(group[metric])]
    teachers = [group for group in groups if group["teacher"] and finite(group[metric])]
    if not students and not teachers:
        return f"No finite {metric} in these rows."
    if not students:
        best = min(teachers, key=lambda g: g[metric])
        standing = f"{best['solver']} at {_steps(best)}, {metric} {best['figure']}"
        return f"No student with a finite {metric}; the teacher's best is {standing}."
    best = _foremost(students, metric)
    text = f"{best['line']} at {_steps(best)}: {metric} {best['figure']}"
    if aim := reference(groups, metric, best):
        guided = "" if aim["guidance"] in (None, 1) else f" at w={aim['guidance']:g}"
        text += _against(best, aim, metric, f"the teacher's DDPM-{aim['steps']}{guided}")
    elif rivals := [group for group in teachers if alike(group, best)]:
        aim = min(rivals, key=lambda g: g[metric])
        text += _against(best, aim, metric, f"the teacher's best, {aim['solver']} at {_steps(aim)},")
    if best["gain"]:
        text += f"; the teacher's DDIM at {_steps(best)} stands at {figure(best['gain'] * best[metric])}"
    return text + "."


def notes(groups: list[dict], metrics: list[str]) -> list[str]:
    """How to read the figures, and what they must not be compared with."""
    sizes = " and ".join(dict.fromkeys(str(group["n"]) for group in groups))
    kinds = {family(metric) for metric in metrics}
    said = [
        "↓ lower, ↑ higher is better. Green or bold: the best at its number of steps, among rows of equal n "
        f"(here n = {sizes})."
    ]
    if kinds & {"fid", "fd", "sfid", "sfd"}:
        said.append(
            "A small n biases a Fréchet distance upward, so only figures of equal n, extractor and reference compare."
        )
    if any(f"{metric}_inf" in group for group in groups for metric in metrics):
        said.append(
            "n→∞: the distance extrapolated from smaller sets of the same samples; less biased, and less sure."
        )
    if kinds & {"diversity", "nearest"}:
        said.append(
            "diversity and nearest are high for samples unlike any data too: read them beside a distance."
        )
    if any(finite(group[f"{metric}_ci"]) for group in groups for metric in metrics):
        said.append(
            "± is the half-width of a 95 % t-interval over seeds, disjoint sets of samples; it does not contain the spread "
            "between trainings. With one seed it is 1.96 standard errors, of those metrics that know theirs."
        )
    return [
        *said,
        "NFE is measured: network evaluations an image. A guided step counts two, of a model that is told its guidance one.",
        "“vs DDIM” is the teacher's DDIM figure at the same number of steps, divided by the row's.",
    ]


def warnings(groups: list[dict], metric: str) -> list[str]:
    """What speaks against taking the figures at their word."""
    said = _mixed(groups) + _singular(groups, metric) + _biased(groups, metric)
    single = [group for group in groups if len(group["seeds"]) == 1 and not finite(group[f"{metric}_ci"])]
    if single:
        which = (
            "Every cell has" if len(single) == len(groups) else f"{len(single)} of {len(groups)} cells have"
        )
        said.append(f"{which} a single seed: no interval for {metric}.")
    for group in groups:
        if group["broken"]:
            said.append(
                f"{group['line']} at {_steps(group)} made values that are not finite: {', '.join(group['broken'])}."
            )
    return said


def provenance(rows: list[dict]) -> dict[str, str]:
    """What made the figures."""
    names = ("extractor", "reference", "n", "seed", "ema", "device", "processes", "versions", "commit")
    facts = {name: _listed(current_rows(rows), name) for name in names}
    times = sorted(row["time"] for row in rows if row.get("time"))
    facts["time"] = " to ".join(dict.fromkeys((times[0], times[-1]))) if times else ""
    return {name: value for name, value in facts.items() if value}


def _foremost(students, metric):
    """The student that the verdict is about."""
    limit = max(FEW, min(group["steps"] for group in students))
    n = max(group["n"] for group in students if group["steps"] <= limit)
    few = [group for group in students if group["steps"] <= limit and group["n"] == n]
    bound = min(group[metric] for group in few)
    close = [group for group in few if group[metric] <= max(bound, CLOSE * bound)]  # energy may lie below 0
    return min(close, key=lambda g: (g["steps"], g[metric]))


def _against(group, aim, metric, name):
    """ ", 1.3 x the 5.5 ± 0.2 of <name> at 1/410 of its time", as far as it makes sense."""
    text = f", {ratio(group[metric] / aim[metric])} x" if min(group[metric], aim[metric]) > 0 else ", against"
    text += f" the {aim['figure']} of {name}"
    times = [g["ms_per_image"] for g in (group, aim)]
    if all(times) and all(group.get(name) == aim.get(name) for name in ("device", "processes", "batch")):
        faster = times[1] / times[0]
        text += f" at 1/{ratio(faster)} of its time" if faster >= 1 else f" at {ratio(1 / faster)} x its time"
    return text.rstrip(",")


def _mixed(groups):
    """A line where some were judged by other data or another network than others."""
    names = " and ".join(
        name for name in ALIKE if name != "n" and len({group.get(name) for group in groups}) > 1
    )
    return (
        [f"These rows differ in {names}: only those alike are compared, bench the others again."]
        if names
        else []
    )


def _singular(groups, metric):
    if family(metric) not in ("fid", "fd"):
        return []
    sizes = dict.fromkeys(
        (g["n"], g["dims"], g.get("extractor") or "the features") for g in groups if g.get("dims")
    )
    return [
        f"n = {n} is {'below' if n < dims else 'only'} the {dims} dimensions of {extractor}: the covariance is singular "
        "and the figure is mostly bias."
        for n, dims, extractor in sizes
        if n <= dims
    ]


def _biased(groups, metric):
    """One line for each n at which the figure is far above its extrapolation."""
    companion = f"{metric}_inf"
    known = [g for g in groups if finite(g[metric]) and finite(g.get(companion)) and g[metric] > 0]
    share = {id(group): 1 - group[companion] / group[metric] for group in known}
    worst = {}
    for group in sorted(known, key=lambda g: share[id(g)]):
        worst[group["n"]] = group
    return [
        f"At n = {n} up to {100 * min(share[id(group)], 1):.0f} % of {metric} is bias ({group['line']} at {_steps(group)}: "
        f"{figure(group[metric])}, and {figure(group[companion])} for n→∞): only figures of equal n compare."
        for n, group in worst.items()
        if share[id(group)] > BIASED
    ]


def _steps(group):
    return f"{group['steps']} step{'s' * (group['steps'] != 1)}"


def _listed(rows, name):
    """The distinct values that rows hold under a name, in order, as text."""
    values = [row[name] for row in rows if row.get(name) is not None]
    texts = [", ".join(f"{k} {v}" for k, v in v.items()) if isinstance(v, dict) else str(v) for v in values]
    return ("; " if any(", " in text for text in texts) else ", ").join(dict.fromkeys(texts))
