"""Plots of a report: quality against cost, as PNG or SVG."""

import io
import math
from collections.abc import Iterable
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator

# colour-blind safe
STUDENT_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7b4fb5", "#8c564b")
TEACHER_COLOURS = ("#333333", "#777777", "#555555", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
NUMBERS = FuncFormatter(lambda value, _: f"{value:.10g}")

MANY_LINES = 10  # of more lines only the teachers and those on the front are in colour
OTHERS = {"color": "#c9ced6", "marker": "o", "linewidth": 0.8}  # style of the others

Point = tuple[float, float]  # cost and figure
Style = dict[str, Any]  # keyword arguments of a line


def quality(
    groups: list[dict],
    metric: str,
    cost: Literal["nfe", "seconds"],
    aim: dict | None = None,
    form: Literal["png", "svg"] = "png",
    real: dict | None = None,
) -> bytes:
    """Plot a metric against NFE or seconds per image, on logarithmic axes.

    Bars are 95 % intervals; lines are shifted slightly so that bars of equal NFE do not overlap. The broad
    step line joins the smallest values, whether or not they can be distinguished; points above it are paler.
    Values that are not positive are omitted.

    Args:
        groups: groups from `summary`.
        metric: metric on the ordinate.
        cost: quantity on the abscissa.
        aim: group whose value is drawn as a dashed line; None to draw no such line.
        form: format of the picture.
        real: group of real data, whose value is drawn as a dotted line; None to draw no such line.

    Returns:
        The bytes of the picture.
    """
    canvas = Figure(figsize=(6.6, 5.4), dpi=160, layout="constrained")
    axes = canvas.subplots()
    axes.set(xscale="log", yscale="log", ylabel=f"{plain(metric)}  (lower is better)")
    groups = [g for g in groups if _positive(_price(g, cost)) and _positive(g[metric])]
    front = _front((_price(g, cost), g[metric]) for g in groups)
    if len(front) > 1:
        _draw_front(axes, front)
    styles = _styles(groups, {g["line"] for g in groups if (_price(g, cost), g[metric]) in front})
    for place, (line, style) in enumerate(styles.items()):
        own = [g for g in groups if g["line"] == line]
        points = sorted((_price(g, cost), g[metric], g[f"{metric}_ci"] or 0, g["steps"]) for g in own)
        apart = (place - (len(styles) - 1) / 2) / max(len(styles) - 1, 5) if cost == "nfe" else 0
        name = None if style == OTHERS else plain(line)
        style = {**style, "label": name, "zorder": 2 if style == OTHERS else 3 + place}
        _curve(axes, points, front, style, 1.14**apart, numbered=cost == "seconds")
    figures = [g[metric] for g in groups]
    levels = []
    if aim and _positive(aim[metric]):
        text = f"{plain(aim['line'])}, {aim['steps']} steps: {aim['figure']}"
        levels.append((aim[metric], text, (0, (6, 3))))
    if real and _positive(real[metric]):
        levels.append((real[metric], f"{real['line']}: {real['figures'][metric]}", (0, (1, 2))))
    for level, text, dashes in levels:
        figures.append(level)
        _draw_level(axes, level, text, dashes, above=level > min(other for other, _, _ in levels))
    if groups:
        _scales(axes, [_price(g, cost) for g in groups], figures, cost)
        if OTHERS in styles.values():
            axes.plot([], [], markersize=6, label="other students", **OTHERS)
        canvas.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8.5)
    else:
        axes.text(0.5, 0.5, f"no finite {metric}", transform=axes.transAxes, ha="center", color="#777777")
    axes.grid(color="#ececec", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "fastdiff"}):  # equal rows give an identical file
        canvas.savefig(file, format=form, metadata={"Date": None} if form == "svg" else None)
    return file.getvalue()


def _price(group: dict, cost: Literal["nfe", "seconds"]) -> float | None:
    """Return the cost per image of a group: network evaluations, or seconds."""
    if cost == "nfe":
        return group["nfe"]
    return group["ms_per_image"] and group["ms_per_image"] / 1000


def _positive(value: float | None) -> bool:
    """Return whether a logarithmic axis can show a value."""
    return value is not None and 0 < value < math.inf


def _draw_front(axes: Axes, front: list[Point]) -> None:
    """Draw the Pareto front as a broad step line."""
    axes.step(
        *zip(*front),
        where="post",
        color="#e9dfc4",
        linewidth=5,
        zorder=1.5,
        label="smallest values",
        solid_capstyle="round",
        solid_joinstyle="round",
    )


def _draw_level(axes: Axes, level: float, text: str, dashes: tuple, above: bool) -> None:
    """Draw a dashed line at a figure, with its name above or below it at the right."""
    axes.axhline(level, color="#555555", linestyle=dashes, linewidth=0.9, zorder=1)
    axes.annotate(
        text,
        # left of the marker of the most steps and right of the few steps of students, there is room
        (0.93, level),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4 if above else -4),
        textcoords="offset points",
        ha="right",
        va="bottom" if above else "top",
        fontsize=7.5,
        color="#555555",
    )


def plain(text: str) -> str:
    """Return a text escaped for matplotlib: no formula, and not hidden from legends."""
    return (f" {text}" if text.startswith("_") else text).replace("$", r"\$")


def _front(points: Iterable[Point]) -> list[Point]:
    """Return the Pareto front of points, sorted by cost."""
    front: list[Point] = []
    for x, y in sorted(points):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def _curve(
    axes: Axes,
    points: list[tuple[float, float, float, int]],
    front: list[Point],
    style: Style,
    shift: float,
    numbered: bool,
) -> None:
    """Draw a line with its markers and bars.

    Args:
        axes: axes to draw on.
        points: cost, value, half-width of its interval, and number of steps of each point.
        front: points on the Pareto front.
        style: style of the line.
        shift: factor of the costs, so that lines do not overlap.
        numbered: whether markers show the number of steps.
    """
    colour = style["color"]
    marker = style["marker"]
    depth = style["zorder"]
    pale = tuple(0.3 * shade + 0.7 for shade in to_rgb(colour))
    costs = [shift * x for x, *_ in points]
    figures = [y for _, y, *_ in points]
    axes.plot(costs, figures, **{**style, "marker": "none", "label": None})
    axes.plot([], [], markersize=6, markeredgecolor="white", markeredgewidth=0.7, **style)  # for the legend
    for x, y, spread, steps in points:
        leads = (x, y) in front
        fill, edge = (colour, "white") if leads else (pale, colour)
        if spread:
            axes.errorbar(
                shift * x, y, spread, color=colour, elinewidth=1.1, capsize=2.5, capthick=1.1, zorder=2.5
            )
        axes.plot(
            shift * x,
            y,
            marker,
            color=fill,
            markeredgecolor=edge,
            markeredgewidth=0.8,
            zorder=depth,
            markersize=12 if numbered else 6,
        )
        if numbered:  # steps are not on the axis
            axes.text(
                x,
                y,
                steps,
                ha="center",
                va="center_baseline",
                color="white" if leads else "#222222",
                zorder=depth,
                fontsize=7 if steps < 100 else 4.5,
            )


def _scales(axes: Axes, x: list[float], y: list[float], cost: Literal["nfe", "seconds"]) -> None:
    """Set limits that ignore bars, and at least two ticks, few enough to read."""
    axes.set(xlim=(min(x) / 1.25, max(max(x) * 1.4, min(x) * 10)), ylim=(min(y) / 1.7, max(y) * 1.5))
    scale(axes.yaxis, min(y), max(y))
    if cost == "nfe":
        axes.set(xlabel="network evaluations per image (NFE)")
        places: list[float] = []
        for value in sorted(set(x)):
            if not places or value > 1.4 * places[-1]:
                places.append(value)
        axes.xaxis.set(
            major_locator=FixedLocator(places), minor_locator=NullLocator(), major_formatter=NUMBERS
        )
    else:
        axes.set(xlabel="time per image (in the markers: steps)")
        axes.xaxis.set(
            major_locator=_ticks(min(x), max(x), 100),
            minor_locator=NullLocator(),
            major_formatter=EngFormatter("s"),
        )


def scale(axis: Axis, low: float, high: float) -> None:
    """Set the ticks of a logarithmic axis, in plain numbers."""
    axis.set(major_locator=_ticks(low, high, 3000), minor_locator=NullLocator(), major_formatter=NUMBERS)


def _ticks(low: float, high: float, room: float) -> LogLocator:
    """Return the ticks from low to high: two per decade if high / low exceeds `room`, else more."""
    if high > room * low:
        return LogLocator(subs=(1, 3))
    return LogLocator(subs=(1, 2, 5) if high > 6 * low else (1, 1.5, 2, 3, 4, 5, 7))


def _styles(groups: list[dict], leading: set[str]) -> dict[str, Style]:
    """Return a style for each line: teachers grey and dashed, students solid and in colour.

    Args:
        groups: groups from `summary`.
        leading: lines on the front; if there are many lines, the other students are grey.
    """
    teachers = dict.fromkeys(g["line"] for g in groups if g["teacher"])
    students = dict.fromkeys(g["line"] for g in groups if not g["teacher"])
    styles = {}
    if len(teachers) + len(students) > MANY_LINES:
        styles = dict.fromkeys((line for line in students if line not in leading), OTHERS)
        students = {line: None for line in students if line in leading}
    for i, line in enumerate(teachers):
        styles[line] = {
            "color": TEACHER_COLOURS[i % 4],
            "marker": MARKERS[i % 8],
            "linestyle": "--",
            "linewidth": 1.2,
        }
    for i, line in enumerate(students):
        styles[line] = {"color": STUDENT_COLOURS[i % 8], "marker": MARKERS[i // 8 % 8], "linewidth": 1.8}
    return styles
