"""The ranking on a report's page: a line per model with its values at all step counts, placed on an axis."""

import math
from collections.abc import Iterable
from typing import Any

from ..formatting import finite
from .ranking import STEP_COLOURS, ranked
from .text import steps_in_words

MARGIN = 0.04  # empty part of the axis at each end


def ladder(groups: list[dict], metric: str, aim: dict | None, real: dict | None) -> dict[str, Any] | None:
    """Return the ranking in the form of the template; places are percentages of the axis.

    Args:
        groups: groups from `summary`; values that are not positive are left out.
        metric: metric on the axis, which is logarithmic.
        aim: group whose value is a dashed line; None for no such line.
        real: group of real data, whose value is a dotted line; None for no such line.

    Returns:
        Its lines, ticks and levels; None without a value to show.
    """
    shown = [group for group in groups if finite(group[metric]) and group[metric] > 0]
    if not shown:
        return None
    levels = [
        {"value": group[metric], "look": look, "text": text}
        for group, look, text in (
            (aim, "aim", aim and f"dashed: {aim['line']}, {steps_in_words(aim)}, {aim['figure']}"),
            (real, "real", real and f"dotted: {real['line']}, {real['figures'].get(metric)}"),
        )
        if group and finite(group.get(metric)) and group[metric] > 0
    ]
    values = [group[metric] for group in shown] + [level["value"] for level in levels]
    low, high = math.log(min(values)), math.log(max(values))
    room = (high - low or 1) * MARGIN

    def place(value: float) -> float:
        share = (math.log(value) - low + room) / (high - low + 2 * room) if value > 0 else 0.0
        return round(100 * min(max(share, 0.0), 1.0), 2)

    tiers = ranked(shown, metric)
    lines = [
        _line(own, metric, place) | {"opens": place_in_tier == 0 and number > 0}
        for number, tier in enumerate(tiers)
        for place_in_tier, own in enumerate(tier)
    ]
    return {
        "lines": lines,
        "tied": len(tiers) < len(lines),
        "levels": [level | {"place": place(level["value"])} for level in levels],
        "ticks": [{"text": f"{tick:g}", "place": place(tick)} for tick in ticks(min(values), max(values))],
    }


def _line(own: list[dict], metric: str, place: Any) -> dict[str, Any]:
    """Return one model's line: its groups by steps, the fewest steps on top."""
    ends = [place(group[metric]) for group in own]
    marks = []
    for group in reversed(own):
        value, half = group[metric], group.get(f"{metric}_ci") or 0
        many = "more" if group["steps"] not in STEP_COLOURS else group["steps"]
        marks.append(
            {
                "steps": group["steps"],
                "look": f"steps-{many}" + " of-teacher" * group["teacher"] + " long" * (group["steps"] > 99),
                "place": place(value),
                "spread": (place(value - half), place(value + half)) if half else None,
                "text": f"{steps_in_words(group)}: {group['figures'][metric]}",
            }
        )
    return {"name": own[0]["line"], "ends": (min(ends), max(ends)), "marks": marks}


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers from low to high for a logarithmic axis: few enough to read."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        found = list(_within((digit * 10.0**decade for decade in decades for digit in digits), low, high))
        if len(found) <= 9:
            return found
    return found[:: math.ceil(len(found) / 9)]


def _within(values: Iterable[float], low: float, high: float) -> Iterable[float]:
    """Return the values from low to high."""
    return (value for value in values if low <= value <= high)
