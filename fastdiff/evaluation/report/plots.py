"""The pictures of a report: quality against cost, as PNG or SVG, and the samples side by side, as PNG."""

import io
import math
from pathlib import Path
from typing import Literal

import matplotlib
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ...data.decode import drawn

STUDENT = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7b4fb5",
    "#8c564b",
)  # colour-blind safe
TEACHER = ("#333333", "#777777", "#555555", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STEPS = (1, 2, 4, 8)  # of students in the grid
COLUMNS = 16  # of a sheet of samples
NUMBERS = FuncFormatter(lambda value, _: f"{value:.10g}")
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def quality(
    groups: list[dict],
    metric: str,
    cost: Literal["nfe", "seconds"],
    aim: dict | None = None,
    form: Literal["png", "svg"] = "png",
) -> bytes:
    """The metric against NFE or seconds an image, both logarithmic, with a line at the group to aim at.

    Bars are 95 % intervals; lines of equal NFE stand a little apart, for their bars. The broad step line is
    the least to be had at each cost, and the points above it are paler. What is not a positive number is left
    to the table.
    """
    canvas = Figure(figsize=(6.6, 5.4), dpi=160, layout="constrained")
    axes = canvas.subplots()
    axes.set(xscale="log", yscale="log", ylabel=f"{plain(metric)}  (lower is better)")
    price = (
        (lambda g: g["nfe"]) if cost == "nfe" else (lambda g: g["ms_per_image"] and g["ms_per_image"] / 1000)
    )
    groups = [g for g in groups if all(x is not None and 0 < x < math.inf for x in (price(g), g[metric]))]
    aim = aim if aim and aim[metric] > 0 else None
    styles = _styles(groups)
    front = _front((price(g), g[metric]) for g in groups)
    if len(front) > 1:
        axes.step(
            *zip(*front),
            where="post",
            color="#e9dfc4",
            linewidth=5,
            zorder=1.5,
            label="Pareto front",
            solid_capstyle="round",
            solid_joinstyle="round",
        )
    for place, (line, style) in enumerate(styles.items()):
        points = sorted(
            (price(g), g[metric], g[f"{metric}_ci"] or 0, g["steps"]) for g in groups if g["line"] == line
        )
        apart = (place - (len(styles) - 1) / 2) / max(len(styles) - 1, 5) if cost == "nfe" else 0
        style |= {"label": plain(line), "zorder": 3 + place}
        _curve(axes, points, front, style, 1.14**apart, written=cost == "seconds")
    if aim:
        axes.axhline(aim[metric], color="#555555", linestyle=(0, (6, 3)), linewidth=0.9, zorder=1)
        # Below it, left of its own marker and right of the few steps of students, there is room for words.
        place = {"xytext": (0, -4), "textcoords": "offset points", "ha": "right", "va": "top"}
        text = f"{plain(aim['line'])}, {aim['steps']} steps: {aim['figure']}"
        axes.annotate(
            text,
            (0.93, aim[metric]),
            xycoords=("axes fraction", "data"),
            **place,
            fontsize=7.5,
            color="#555555",
        )
    if groups:
        _scales(
            axes, [price(g) for g in groups], [g[metric] for g in (*groups, *([aim] if aim else []))], cost
        )
        canvas.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8.5)
    else:
        axes.text(0.5, 0.5, f"no finite {metric}", transform=axes.transAxes, ha="center", color="#777777")
    axes.grid(color="#ececec", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "fastdiff"}):  # the same rows draw the same file
        canvas.savefig(file, format=form, metadata={"Date": None} if form == "svg" else None)
    return file.getvalue()


def plain(text):
    """Text that matplotlib takes for no formula and, in a legend, for nothing hidden."""
    return (f" {text}" if text.startswith("_") else text).replace("$", r"\$")


def _front(points):
    """Those (cost, figure) that no other beats in both, by cost."""
    front = []
    for x, y in sorted(points):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def _curve(axes, points, front, style, shift, written):
    """A line of points (cost, figure, interval, steps) with bars and markers, in which the steps may be `written`."""
    colour, marker, depth = style["color"], style["marker"], style["zorder"]
    pale = tuple(0.3 * shade + 0.7 for shade in to_rgb(colour))
    axes.plot(
        [shift * x for x, *_ in points],
        [y for _, y, *_ in points],
        **style | {"marker": "none", "label": None},
    )
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
            markersize=12 if written else 6,
        )
        if written:  # the axis does not tell
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


def _scales(axes, x, y, cost):
    """Limits that no bar stretches, and ticks few enough to read, but two at least."""
    axes.set(xlim=(min(x) / 1.25, max(max(x) * 1.4, min(x) * 10)), ylim=(min(y) / 1.7, max(y) * 1.5))
    scale(axes.yaxis, min(y), max(y))
    if cost == "nfe":
        axes.set(xlabel="network evaluations an image (NFE)")
        places = []
        for value in sorted(set(x)):
            places += [value] if not places or value > 1.4 * places[-1] else []
        axes.xaxis.set(
            major_locator=FixedLocator(places), minor_locator=NullLocator(), major_formatter=NUMBERS
        )
    else:
        axes.set(xlabel="time an image (in the markers: steps)")
        axes.xaxis.set(
            major_locator=_ticks(min(x), max(x), 100),
            minor_locator=NullLocator(),
            major_formatter=EngFormatter("s"),
        )


def scale(axis, low, high):
    """Ticks of a logarithmic axis in plain numbers."""
    axis.set(major_locator=_ticks(low, high, 3000), minor_locator=NullLocator(), major_formatter=NUMBERS)


def _ticks(low, high, room):
    """The more numbers a decade the fewer decades; `room` is the range from which on 1 and 3 must do."""
    return LogLocator(
        subs=(1, 3) if high > room * low else (1, 2, 5) if high > 6 * low else (1, 1.5, 2, 3, 4, 5, 7)
    )


def _styles(groups):
    """Line -> matplotlib style: teachers grey, dashed, each with its marker; students solid and in colour."""
    teachers = dict.fromkeys(g["line"] for g in groups if g["teacher"])
    students = dict.fromkeys(g["line"] for g in groups if not g["teacher"])
    styles = {}
    for i, line in enumerate(teachers):
        styles[line] = {
            "color": TEACHER[i % 4],
            "marker": MARKERS[i % 8],
            "linestyle": "--",
            "linewidth": 1.2,
        }
    for i, line in enumerate(students):
        styles[line] = {"color": STUDENT[i % 8], "marker": MARKERS[i // 8 % 8], "linewidth": 1.8}
    return styles


def grid(groups: list[dict], metric: str, samples: Path) -> bytes | None:
    """The first rows of the sheets `samples`/<cell>.png under one another, named at the left; None where there are none.

    The images of a row are square and start from the same noise in every cell; they are enlarged by whole
    pixels. On top stand real data. Scatter plots of points in the plane share a row with those of the same
    model and sampler.
    """
    sheets = {}
    for g in groups:
        path = samples / f"{g.get('cell')}.png"
        if g.get("cell") not in sheets and (g["teacher"] or g["steps"] in STEPS) and path.exists():
            sheets[g["cell"]] = g, _tiles(path)
    scatter = all(len(tiles) == 1 for _, tiles in sheets.values())
    bands = {}  # (title, words under it) -> pictures
    if sheets and (samples / "real.png").exists():
        bands["real data", ""] = [_joined(_tiles(samples / "real.png"), gap=2)]
    for g, tiles in sheets.values():
        if scatter:
            name = _words(f"{g['steps']} step{'s' * (g['steps'] != 1)}", g["figure"])
            bands.setdefault((g["line"], metric), []).append(_joined([name, *tiles], gap=4, down=True))
        else:
            bands[f"{g['line']} {g['steps']}", f"{metric} {g['figure']}"] = [_joined(tiles, gap=2)]
    if not bands:
        return None
    left = max(_words(*title).width for title in bands)
    rows = [_joined([_words(*title, width=left), *pictures], gap=14) for title, pictures in bands.items()]
    file = io.BytesIO()
    ImageOps.expand(_joined(rows, gap=8, down=True), 14, "white").save(file, format="png")
    return file.getvalue()


def _tiles(path):
    """The first row of a sheet's images, or its one scatter plot, each at least 48 pixels high, no pixel invented."""
    sheet = drawn(path).convert("RGB")
    side = sheet.width if sheet.width == sheet.height else max(1, sheet.width // COLUMNS)
    scale = math.ceil(48 / side)
    crops = [sheet.crop((x, 0, x + side, side)) for x in range(0, sheet.width, side)]
    return [crop.resize((side * scale, side * scale), Image.Resampling.NEAREST) for crop in crops]


def _words(title, words, width=None):
    """Two lines of text as a picture."""
    bold = ImageFont.truetype(FONTS / "DejaVuSans-Bold.ttf", 13)
    small = ImageFont.truetype(FONTS / "DejaVuSans.ttf", 11)
    picture = Image.new(
        "RGB", (width or math.ceil(max(bold.getlength(title), small.getlength(words))), 34), "white"
    )
    draw = ImageDraw.Draw(picture)
    draw.text((0, 1), title, "#222222", bold)
    draw.text((0, 18), words, "#777777", small)
    return picture


def _joined(pictures, gap, down=False):
    """Pictures under one another, flush left; or side by side, centred."""
    lengths = [picture.height if down else picture.width for picture in pictures]
    breadth = max(picture.width if down else picture.height for picture in pictures)
    length = sum(lengths) + gap * (len(pictures) - 1)
    joined = Image.new("RGB", (breadth, length) if down else (length, breadth), "white")
    for i, picture in enumerate(pictures):
        start = sum(lengths[:i]) + gap * i
        joined.paste(picture, (0, start) if down else (start, (breadth - picture.height) // 2))
    return joined
