"""Comparisons of groups of rows: differences with intervals, the best of a set, and what equals it.

Groups are compared by differences, and never by ratios: distances of few samples share a bias, which a
difference cancels and a ratio does not. Groups whose difference has an interval that contains 0 are not
distinguished, and have no order.
"""

import math
from collections.abc import Iterable
from itertools import product
from statistics import fmean, mode, stdev
from typing import Any, NamedTuple

from .formatting import finite, signed
from .metric_names import UNRANKED_FAMILIES, better, family

Group = dict[str, Any]  # the mean of a cell's rows, as `summary.summary` returns it

COMPARISON_FIELDS = ("n", "reference", "extractor")  # must be equal for metrics to be compared
NO_INTERVAL = "no interval"
EQUAL = "≈"  # marks groups that are not distinguished from the best
ROUNDING = 1e-9  # smaller half-widths, as fractions of the values, are rounding errors: 0


class Difference(NamedTuple):
    """A difference of two groups, and the half-width of its 95 % interval; None for no interval."""

    middle: float
    half: float | None

    @property
    def distinct(self) -> bool:
        """Whether the interval excludes 0; False without an interval."""
        return self.half is not None and abs(self.middle) > self.half

    def __str__(self) -> str:
        if self.half is None:
            return f"{signed(self.middle)} ({NO_INTERVAL})"
        return signed(self.middle, self.half) + ("" if self.distinct else f" {EQUAL}")


def difference(group: Group, other: Group, name: str) -> Difference | None:
    """Return the difference of two groups in a figure, group - other, with its 95 % interval.

    Groups of equal seeds start from the same noise: the interval is a t-interval of their differences seed by
    seed, of which the noise that they share has dropped out. Real data and groups without two seeds in common
    are independent, with Welch's interval. With one seed the interval is 1.96 standard errors, for figures
    that have one.

    Args:
        group: a group.
        other: the group that is subtracted.
        name: key of a metric, or of its extrapolation, NAME_inf.

    Returns:
        The difference; None if the groups are not comparable or lack a finite figure.
    """
    if not (comparable(group, other) and finite(group.get(name)) and finite(other.get(name))):
        return None
    own, others = group["values"][name], other["values"][name]
    shared = [] if group["real"] or other["real"] else [seed for seed in own if seed in others]
    if len(shared) > 1:
        apart = [own[seed] - others[seed] for seed in shared]
        return Difference(fmean(apart), half_width(apart))
    middle = group[name] - other[name]
    if min(len(own), len(others)) > 1:
        return Difference(middle, _welch(list(own.values()), list(others.values())))
    errors = [one.get(f"{name}_se") for one in (group, other)]
    return Difference(middle, 1.96 * math.hypot(*errors) if all(map(finite, errors)) else None)


def half_width(values: list[float]) -> float | None:
    """Return the half-width of the 95 % t-interval of a mean; None for fewer than two values."""
    if len(values) < 2 or not all(map(finite, values)):
        return None
    half = _student(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return half if half > ROUNDING * max(map(abs, values)) else 0.0


def _welch(a: list[float], b: list[float]) -> float | None:
    """Return the half-width of Welch's 95 % interval of the difference of two independent means."""
    if not all(map(finite, [*a, *b])):
        return None
    parts = [(stdev(values) ** 2 / len(values), len(values) - 1) for values in (a, b)]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return 0.0
    freedom = variance**2 / sum(part**2 / free for part, free in parts)
    return _student(freedom) * math.sqrt(variance)


def _student(freedom: float) -> float:
    """Return the 0.975 quantile of Student's t."""
    from scipy.special import stdtrit  # slow to import, and not needed to read the file

    return float(stdtrit(freedom, 0.975))


def comparable(group: Group, other: Group) -> bool:
    """Return whether metrics of two groups can be compared: equal n, data and feature networks."""
    return _judged(group) == _judged(other)


def usual(groups: list[Group]) -> Group:
    """Return a group that is comparable with most of the others."""
    return next(group for group in groups if _judged(group) == mode(map(_judged, groups)))


def figure_name(groups: Iterable[Group], metric: str) -> str:
    """Return the name by which groups are compared in a metric.

    This is its extrapolation to infinitely many samples if all groups with a finite value have one.
    """
    inf = f"{metric}_inf"
    known = [group for group in groups if finite(group[metric])]
    return inf if known and all(finite(group.get(inf)) for group in known) else metric


def reference(groups: list[Group], metric: str, group: Group) -> Group | None:
    """Return the teacher's DDPM with the most steps, at the best guidance, if comparable with a group."""
    ddpm = [other for other in _teachers(groups, metric, group) if other["sampler"] == "ddpm"]
    return min(ddpm, key=lambda other: (-other["steps"], other[metric]), default=None)


def ddim(groups: list[Group], metric: str, group: Group) -> Group | None:
    """Return the teacher's DDIM at a group's steps, the best of its spacings and weights, if comparable."""
    own = [
        other
        for other in _teachers(groups, metric, group)
        if other["sampler"] == "ddim" and other["steps"] == group["steps"]
    ]
    return min(own, key=lambda other: other[metric], default=None)


def best_and_equal(groups: list[Group], name: str) -> tuple[Group | None, list[Group]]:
    """Return the group with the best value of a figure, and the others that are not distinguished from it.

    Args:
        groups: groups that are comparable.
        name: key of a metric, or of its extrapolation.

    Returns:
        The best group, None if no group has a finite value; and the other groups, in the given order, whose
        difference from it has an interval that contains 0, or has none.
    """
    known = [group for group in groups if finite(group.get(name))]
    if not known:
        return None, []
    first = min if better(name) == "lower" else max
    best = first(known, key=lambda group: group[name])
    differences = [(group, difference(group, best, name)) for group in known if group is not best]
    return best, [group for group, apart in differences if apart is None or not apart.distinct]


def standings(groups: list[Group], names: list[str]) -> list[dict[str, list[str]]]:
    """Return for each group the figures in which it is the best of the comparable groups of equal steps.

    Args:
        groups: all groups.
        names: keys of metrics and of their extrapolations.

    Returns:
        For each group "bests", the names in which it has the best value, and its difference from every other
        group has an interval that excludes 0; and "equals", the names in which several groups, this one among
        them, are not distinguished from the best. A name without any interval is in neither.
    """
    rivals: dict[tuple, list[int]] = {}
    for place, group in enumerate(groups):
        rivals.setdefault((group["steps"], _judged(group)), []).append(place)
    found: list[dict[str, list[str]]] = [{"bests": [], "equals": []} for _ in groups]
    ranked = [name for name in names if family(name) not in UNRANKED_FAMILIES]
    for places, name in product(rivals.values(), ranked):
        known = [place for place in places if finite(groups[place].get(name))]
        best, equal = best_and_equal([groups[place] for place in known], name)
        if len(known) < 2:
            continue
        if not equal:
            [place] = [place for place in known if groups[place] is best]
            found[place]["bests"].append(name)
        elif any(_has_interval(groups[place], best, name) for place in known):
            for place in known:
                if any(groups[place] is one for one in (best, *equal)):
                    found[place]["equals"].append(name)
    return found


def _has_interval(group: Group, best: Group, name: str) -> bool:
    """Return whether the difference of a group from the best one has an interval."""
    apart = difference(group, best, name)
    return group is not best and apart is not None and apart.half is not None


def tiers(groups: list[Group], name: str) -> list[list[Group]]:
    """Return groups in tiers: the best and its equals, then the best of the others and its equals, and so on.

    Within a tier there is no order; groups are sorted by their lines' names.

    Args:
        groups: groups with finite values.
        name: key of a metric.
    """
    found = []
    while groups:
        best, equal = best_and_equal(groups, name)
        taken = [group for group in groups if group is best or any(group is one for one in equal)]
        found.append(sorted(taken, key=lambda group: group["line"]))
        groups = [group for group in groups if not any(group is one for one in taken)]
    return found


def _teachers(groups: list[Group], metric: str, group: Group) -> list[Group]:
    """Return the teacher's groups that are comparable with a group and have a finite metric."""
    return [
        other
        for other in groups
        if other["teacher"] and comparable(other, group) and finite(other.get(metric))
    ]


def _judged(group: Group) -> tuple:
    """Return the values that must be equal for metrics to be compared."""
    return tuple(group.get(name) for name in COMPARISON_FIELDS)
