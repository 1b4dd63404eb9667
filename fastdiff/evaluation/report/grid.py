"""The grid of a report: samples of many cells from the same noise, one row each, as PNG."""

import io
import math
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ...data.decode import read_run_picture
from .text import steps_in_words

STEPS = (1, 2, 4, 8)  # step counts at which students are shown
COLUMNS = 16  # tiles in a row of a sheet
MIN_SIDE = 48  # smallest side of a tile, in pixels
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def grid(groups: list[dict], metric: str, samples: Path) -> bytes | None:
    """Draw the first row of each sheet of samples, labelled at the left, with real data on top.

    The images are square, start from the same noise in every cell, and are enlarged by whole pixels. Scatter
    plots share a row with those of the same model and sampler.

    Args:
        groups: groups from `summary`; students at step counts other than STEPS are left out.
        metric: metric that is shown with the names.
        samples: folder of the sheets, <cell>.png and real.png.

    Returns:
        The bytes of a PNG; None if there are no sheets.
    """
    bands = _bands(groups, metric, samples)
    if not bands:
        return None
    left = max(_label(*title).width for title in bands)
    rows = [_side_by_side([_label(*title, width=left), *own], 14) for title, own in bands.items()]
    file = io.BytesIO()
    ImageOps.expand(_stacked(rows, 8), 14, "white").save(file, format="png")
    return file.getvalue()


def _bands(groups: list[dict], metric: str, samples: Path) -> dict[tuple[str, str], list[Image.Image]]:
    """Return the pictures of each row by the row's label: a title, and the text below it."""
    sheets = {}
    for g in groups:
        cell = g.get("cell")
        path = samples / f"{cell}.png"
        if cell not in sheets and (g["teacher"] or g["steps"] in STEPS) and path.exists():
            sheets[cell] = g, _tiles(path)
    scatter = all(len(tiles) == 1 for _, tiles in sheets.values())
    bands: dict[tuple[str, str], list[Image.Image]] = {}
    if sheets and (samples / "real.png").exists():
        bands["real data", ""] = [_side_by_side(_tiles(samples / "real.png"), 2)]
    for g, tiles in sheets.values():
        if scatter:
            label = _label(steps_in_words(g), g["figure"])
            bands.setdefault((g["line"], metric), []).append(_stacked([label, *tiles], 4))
        else:
            bands[f"{g['line']} {g['steps']}", f"{metric} {g['figure']}"] = [_side_by_side(tiles, 2)]
    return bands


def _tiles(path: Path) -> list[Image.Image]:
    """Return the first row of a sheet, or a scatter plot, as tiles enlarged to MIN_SIDE by whole pixels."""
    sheet = read_run_picture(path).convert("RGB")
    side = sheet.width if sheet.width == sheet.height else max(1, sheet.width // COLUMNS)
    scale = math.ceil(MIN_SIDE / side)
    crops = [sheet.crop((x, 0, x + side, side)) for x in range(0, sheet.width, side)]
    return [crop.resize((side * scale, side * scale), Image.Resampling.NEAREST) for crop in crops]


def _label(title: str, words: str, width: int | None = None) -> Image.Image:
    """Return two lines of text as a picture."""
    bold = ImageFont.truetype(FONTS / "DejaVuSans-Bold.ttf", 13)
    small = ImageFont.truetype(FONTS / "DejaVuSans.ttf", 11)
    longest = max(bold.getlength(title), small.getlength(words))
    picture = Image.new("RGB", (width or math.ceil(longest), 34), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((0, 1), title, "#222222", bold)
    draw.text((0, 18), words, "#777777", small)
    return picture


def _side_by_side(pictures: list[Image.Image], gap: int) -> Image.Image:
    """Return pictures side by side, centred, with a gap of white pixels between them."""
    height = max(picture.height for picture in pictures)
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    joined = Image.new("RGB", (width, height), "white")
    x = 0
    for picture in pictures:
        joined.paste(picture, (x, (height - picture.height) // 2))
        x += picture.width + gap
    return joined


def _stacked(pictures: list[Image.Image], gap: int) -> Image.Image:
    """Return pictures stacked vertically, flush left, with a gap of white pixels between them."""
    width = max(picture.width for picture in pictures)
    height = sum(picture.height for picture in pictures) + gap * (len(pictures) - 1)
    joined = Image.new("RGB", (width, height), "white")
    y = 0
    for picture in pictures:
        joined.paste(picture, (0, y))
        y += picture.height + gap
    return joined
