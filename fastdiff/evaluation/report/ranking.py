"""The ranking of a report: one picture with a line per model and its value at every step count, in tiers."""

import io
import math
from itertools import accumulate

from matplotlib.figure import Figure

from ..comparison import COMPARISON_FIELDS, tiers
from .plots import STUDENT_COLOURS, TEACHER_COLOURS, plain, scale

STEP_COLOURS = {
    1: STUDENT_COLOURS[1],
    2: STUDENT_COLOURS[4],
    4: STUDENT_COLOURS[2],
    8: STUDENT_COLOURS[0],
}  # by number of steps; others are grey


def ranking(groups: list[dict], metric: str, aim: dict | None = None, real: dict | None = None) -> bytes:
    """Draw one line per model, in tiers by the value at their fewest steps.

    Lines of a tier are not distinguished from its best, and stand in the order of their names. Markers show
    numbers of steps, bars are 95 % intervals. Values that are not positive are omitted.

    Args:
        groups: groups from `summary`.
        metric: metric on the abscissa.
        aim: group whose value is drawn as a dashed line; None to draw no such line.
        real: group of real data, whose value is drawn as a dotted line; None to draw no such line.

    Returns:
        The bytes of a PNG.
    """
    groups = [g for g in groups if g[metric] is not None and 0 < g[metric] < math.inf]
    grouped = ranked(groups, metric)
    order = [line for tier in grouped for line in tier]
    canvas = Figure(figsize=(6.6, 1.2 + 0.26 * len(order)), dpi=160, layout="constrained")
    axes = canvas.subplots()
    for place, own in enumerate(order):
        values = [g[metric] for g in own]
        axes.plot([min(values), max(values)], [place, place], color="#dddddd", linewidth=1.2, zorder=1)
        for depth, g in enumerate(reversed(own)):  # the fewest steps on top
            colour = TEACHER_COLOURS[0] if g["teacher"] else STEP_COLOURS.get(g["steps"], TEACHER_COLOURS[1])
            if spread := g[f"{metric}_ci"]:
                bar = {"elinewidth": 0.9, "alpha": 0.5, "zorder": 2}
                axes.errorbar(g[metric], place, xerr=spread, color=colour, **bar)
            edge = {"markeredgecolor": "white", "markeredgewidth": 0.7}
            axes.plot(g[metric], place, "o", markersize=9.5, color=colour, zorder=3 + depth, **edge)
            size = 6.5 if g["steps"] < 10 else 4.5 if g["steps"] < 100 else 3
            centred = {"ha": "center", "va": "center_baseline", "color": "white"}
            axes.text(g[metric], place, g["steps"], fontsize=size, zorder=3 + depth, **centred)
    for edge in accumulate(map(len, grouped[:-1])):
        axes.axhline(edge - 0.5, color="#bbbbbb", linewidth=0.8, zorder=0.5)
    named = []
    if aim and 0 < aim[metric] < math.inf:
        axes.axvline(aim[metric], color="#555555", linestyle=(0, (6, 3)), linewidth=0.9, zorder=1)
        named.append(f"dashed: {plain(aim['line'])}, {aim['steps']} steps, {aim['figure']}")
    if real and 0 < (real[metric] or 0) < math.inf:
        axes.axvline(real[metric], color="#555555", linestyle=(0, (1, 2)), linewidth=0.9, zorder=1)
        named.append(f"dotted: {real['line']}, {real['figures'][metric]}")
    if len(grouped) < len(order):
        named.append("no order between two rules: not distinguished from the best there")
    axes.set_title("\n".join(named), fontsize=8, color="#555555")
    if order:
        axes.set(xscale="log", xlabel=f"{plain(metric)}  (lower is better; in the markers: steps)")
        values = [g[metric] for g in groups]
        axes.set(xlim=(min(values) / 1.5, max(values) * 1.4), ylim=(len(order) - 0.4, -0.6))
        scale(axes.xaxis, min(values), max(values))
        axes.set_yticks(range(len(order)), [plain(own[0]["line"]) for own in order], fontsize=8)
    axes.grid(color="#ececec", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    canvas.savefig(file, format="png")
    return file.getvalue()


def ranked(groups: list[dict], metric: str) -> list[list[list[dict]]]:
    """Return the lines in tiers, each line as its groups by steps.

    Lines are compared at their fewest steps, those of one step before those of two, and so on; lines that are
    not comparable are in tiers of their own.
    """
    lines: dict[str, list[dict]] = {}
    for g in sorted(groups, key=lambda g: (g["steps"], g[metric])):
        lines.setdefault(g["line"], []).append(g)
    by_steps: dict[tuple, list[dict]] = {}
    for own in lines.values():
        steps = own[0]["steps"]
        judged = [str(own[0].get(name)) for name in COMPARISON_FIELDS]
        by_steps.setdefault((steps > max(STEP_COLOURS), steps, *judged), []).append(own[0])
    return [
        [lines[first["line"]] for first in tier]
        for _, firsts in sorted(by_steps.items())
        for tier in tiers(firsts, metric)
    ]
