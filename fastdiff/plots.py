"""The pictures of a report, as PNG bytes: quality against cost, and the samples side by side."""

import io
import math
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator
from PIL import Image, ImageDraw, ImageFont, ImageOps

STUDENT = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7b4fb5", "#8c564b")  # colour-blind safe
TEACHER = ("#333333", "#777777", "#555555", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STEPS = (1, 2, 4, 8, 50, 1000)
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def quality(groups: list[dict], metric: str, cost: str, aim: dict | None = None) -> bytes:
    """The metric against "nfe" or "seconds" an image, both logarithmic, with a line at the group to aim at.

    What is not a positive number has no place on such axes and is left to the table.
    """
    canvas = Figure(figsize=(6.6, 5.4), dpi=160, layout="constrained")
    axes = canvas.subplots()
    axes.set(xscale="log", yscale="log", ylabel=f"{metric}  (lower is better)")
    price = (lambda g: g["nfe"]) if cost == "nfe" else (lambda g: g["ms_per_image"] and g["ms_per_image"] / 1000)
    groups = [g for g in groups if all(x is not None and 0 < x < math.inf for x in (price(g), g[metric]))]

    markersize = 5.5 if cost == "nfe" else 12
    for depth, (line, style) in enumerate(_styles(groups).items(), start=3):
        points = sorted((g for g in groups if g["line"] == line), key=price)
        x, y, spread = zip(*((price(g), g[metric], g[f"{metric}_std"] or 0) for g in points))
        style |= {"markersize": markersize, "zorder": depth, "elinewidth": 1.2}
        axes.errorbar(x, y, yerr=spread if any(spread) else None, label=line, **style)
        if cost == "seconds":  # there the steps cannot be read from the axis
            for g in points:
                place = {"ha": "center", "va": "center_baseline", "color": "white", "zorder": depth + 0.5}
                axes.text(price(g), g[metric], g["steps"], fontsize=7 if g["steps"] < 100 else 4.5, **place)

    if aim and aim[metric] > 0:
        axes.axhline(aim[metric], color="#555555", linestyle=(0, (6, 3)), linewidth=0.9, zorder=1)
        # Between the few steps of students and the many of the line's own marker there is room for words.
        place = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center", "fontsize": 8, "color": "#555555"}
        text = f"{aim['line']}, {aim['steps']} steps: {aim['figure']}"
        axes.annotate(text, (0.72, aim[metric]), xycoords=("axes fraction", "data"), **place)

    plain = FuncFormatter(lambda value, _: f"{value:.10g}")
    if cost == "nfe":
        axes.set(xlabel="network evaluations an image (NFE)", xlim=(0.8, max([10, *(1.4 * price(g) for g in groups)])))
        axes.xaxis.set(major_locator=FixedLocator(STEPS), minor_locator=NullLocator(), major_formatter=plain)
    else:
        axes.set(xlabel="time an image (in the markers: steps)")
        axes.xaxis.set(
            major_locator=LogLocator(subs=(1, 3)), major_formatter=EngFormatter("s"), minor_locator=NullLocator()
        )
    axes.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter=plain, minor_locator=NullLocator())
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    if groups:
        canvas.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8.5, markerscale=5.5 / markersize)
    else:
        axes.text(0.5, 0.5, f"no finite {metric}", transform=axes.transAxes, ha="center", color="#777777")
    file = io.BytesIO()
    canvas.savefig(file, format="png")
    return file.getvalue()


def _styles(groups):
    """Line -> matplotlib style: teachers grey, dashed, each with its marker; students solid and in colour."""
    common = {"markeredgecolor": "white", "markeredgewidth": 0.7}
    teachers = dict.fromkeys(g["line"] for g in groups if g["teacher"])
    students = dict.fromkeys(g["line"] for g in groups if not g["teacher"])
    styles = {}
    for i, line in enumerate(teachers):
        look = {"color": TEACHER[i % 4], "marker": MARKERS[i % 8], "linestyle": "--", "linewidth": 1.2}
        styles[line] = common | look
    for i, line in enumerate(students):
        look = {"color": STUDENT[i % 8], "marker": MARKERS[i // 8 % 8], "linewidth": 1.8}
        styles[line] = common | look
    return styles


def grid(groups: list[dict], metric: str, samples: Path) -> bytes | None:
    """The strips `samples`/<cell>.png under one another, named at the left; None where there are none.

    The images of a strip are square and start from the same noise in every cell; they are enlarged by whole pixels.
    Strips of one image (scatter plots of points in the plane) share a row with those of the same model and sampler.
    """
    strips = {}
    for g in groups:
        path = samples / f"{g.get('cell')}.png"
        if g.get("cell") not in strips and (g["teacher"] or g["steps"] in STEPS[:4]) and path.exists():
            with Image.open(path) as picture:
                strips[g["cell"]] = g, _tiles(picture.convert("RGB"))
    scatter = all(len(tiles) == 1 for _, tiles in strips.values())
    bands = {}  # (title, words under it) -> pictures
    for g, tiles in strips.values():
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


def _tiles(strip):
    """The images of a strip, each at least 48 pixels high, enlarged without inventing a pixel."""
    side = strip.height
    scale = math.ceil(48 / side)
    crops = [strip.crop((x, 0, x + side, side)) for x in range(0, strip.width, side)]
    return [crop.resize((side * scale, side * scale), Image.Resampling.NEAREST) for crop in crops]


def _words(title, words, width=None):
    """Two lines of text as a picture."""
    bold = ImageFont.truetype(FONTS / "DejaVuSans-Bold.ttf", 13)
    small = ImageFont.truetype(FONTS / "DejaVuSans.ttf", 11)
    picture = Image.new("RGB", (width or math.ceil(max(bold.getlength(title), small.getlength(words))), 34), "white")
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
