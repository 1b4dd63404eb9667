"""The questions of a blind comparison: pairs of cells, and pairs of their images from the same noise."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ...core.errors import FastdiffError
from ...core.files import identity
from ...core.validation import suggestion
from ...data.decode import read_run_picture
from ..formatting import finite
from ..rows import read_rows
from ..summary import metric_of, summary

REAL = "real"
COLUMNS = 16  # tiles in a row of a sheet


def pairings(run_dir: str | Path, a: str | None = None, b: str | None = None) -> list[tuple[str, str]]:
    """Return the pairs of cells to compare.

    Args:
        run_dir: folder of the run, with bench.jsonl and samples.
        a: first cell, MODEL:STEPS, with the best of several samplers; None for each student at its fewest
            steps.
        b: second cell, MODEL:STEPS or `real`; None for the teacher's best cell and real data.

    Raises:
        FastdiffError: if such cells do not exist.
    """
    path = Path(run_dir) / "bench.jsonl"
    rows = read_rows(path)
    if not rows:
        raise FastdiffError(f"no rows in {path}: run `fastdiff bench` or `fastdiff run` first")
    metric = metric_of(rows)
    groups = sorted(
        summary(rows), key=lambda g: (not finite(g[metric]), g[metric] or 0)
    )  # the lowest is the best
    if unnamed := [g for g in groups if not g.get("cell")]:
        raise FastdiffError(
            f"{path}: rows of {unnamed[0]['model']} have no cell, and so no samples: run the benchmark again"
        )
    firsts = _fewest_steps(groups) if a is None else [_named("--a", a, groups)]
    if b is None:
        seconds = _rivals(groups, Path(run_dir) / "samples")
    else:
        seconds = [REAL if b == REAL else _named("--b", b, groups)]
    found = [(one, other) for one in firsts for other in seconds if one != other]
    if not found:
        raise FastdiffError(
            f"{path} has nothing to compare: name two cells with --a MODEL:STEPS --b MODEL:STEPS"
        )
    return found


def _fewest_steps(groups: list[dict]) -> list[str]:
    """Return the cell of each student at its fewest steps; `groups` are sorted, the best first."""
    families: dict[str, list[dict]] = {}
    for group in groups:
        if not group["teacher"]:
            families.setdefault(group["family"], []).append(group)
    return [min(families[name], key=lambda g: g["steps"])["cell"] for name in sorted(families)]


def _rivals(groups: list[dict], samples: Path) -> list[str]:
    """Return the teacher's best cell and real data, if they exist; `groups` are sorted, the best first."""
    rivals = [g["cell"] for g in groups if g["teacher"]][:1]
    return [*rivals, REAL] if (samples / f"{REAL}.png").exists() else rivals


def _named(option: str, text: str, groups: list[dict]) -> str:
    """Return the best cell of MODEL:STEPS, the value of an option; `groups` are sorted, the best first."""
    model, _, steps = text.rpartition(":")
    if not model or not steps.isdecimal():
        raise FastdiffError(
            f"{option} {text}: expected MODEL:STEPS, as in {groups[0]['model']}:{groups[0]['steps']}"
        )
    kin = [g for g in groups if model in (g["model"], g["family"])]
    if not kin:
        raise FastdiffError(
            f"{option} {text}: no such model{suggestion(model, {g['model'] for g in groups})}"
        )
    fit = [g["cell"] for g in kin if g["steps"] == int(steps)]
    if not fit:
        counts = ", ".join(map(str, sorted({g["steps"] for g in kin})))
        raise FastdiffError(f"{option} {text}: not measured at that step count, choose from {counts}")
    return fit[0]


@dataclass(frozen=True, eq=False)
class Question:
    """A question: two images to compare, of two cells from the same noise, or of a cell and real data.

    Args:
        key: hash that identifies the question.
        a: name of the first cell.
        b: name of the second cell, or `real`.
        noise: index of the images in their sheets.
        images: hash of the two images, so that a retrained model is judged again.
        sides: `a` and `b`, the left one first.
        tiles: the two images, the left one first.
    """

    key: str
    a: str
    b: str
    noise: int
    images: str
    sides: tuple[str, str]
    tiles: tuple[Image.Image, Image.Image]


def questions(run_dir: str | Path, pairs: list[tuple[str, str]], rater: str, n: int) -> list[Question]:
    """Return the first n questions, noise by noise over all pairs; the rater's name sets order and sides.

    Args:
        run_dir: folder of the run, with samples.
        pairs: pairs of cells.
        rater: name of the rater.
        n: number of questions.

    Raises:
        FastdiffError: for n below 1, an empty name, and sheets that are missing or differ in image size.
    """
    if n < 1:
        raise FastdiffError(f"--pairs {n}: expected at least 1")
    if not rater.strip():
        raise FastdiffError("--rater: expected a name")
    samples = Path(run_dir) / "samples"
    cells_shown = dict.fromkeys(cell for pair in pairs for cell in pair)
    sheets = {cell: tiles(samples / f"{cell}.png") for cell in cells_shown}
    sizes = {sheet[0].width: cell for cell, sheet in sheets.items()}
    if len(sizes) > 1:
        (one, a), (other, b), *_ = sizes.items()
        raise FastdiffError(
            f"{samples}: images of {one} pixels in {a}.png and of {other} in {b}.png: expected one size; "
            "compare cells of equal size with --a and --b"
        )
    found = []
    for noise in range(max(map(len, sheets.values()))):
        for a, b in pairs:
            if noise < min(len(sheets[a]), len(sheets[b])):
                both = sheets[a][noise], sheets[b][noise]
                images = look(*both)
                key = identity(rater=rater, a=a, b=b, noise=noise, images=images)
                sides = ("a", "b")
                if int(key, 16) % 2:
                    sides = sides[::-1]
                    both = both[::-1]
                found.append(Question(key, a, b, noise, images, sides, both))
    return sorted(found[:n], key=lambda question: question.key)


def tiles(path: Path) -> list[Image.Image]:
    """Return the images of a sheet in order, without the black ones that fill its last row."""
    if not path.exists():
        raise FastdiffError(
            f"no samples in {path}: name other cells with --a and --b, or run the benchmark again "
            "with a new --out"
        )
    sheet = read_run_picture(path).convert(
        "RGB"
    )  # all sheets in one mode: a grey one would reveal the real data
    if sheet.width == sheet.height:
        raise FastdiffError(f"{path} is a scatter plot: only images can be judged, not points")
    side = sheet.width // COLUMNS
    if not side or sheet.width % COLUMNS or sheet.height % side:
        raise FastdiffError(
            f"{path}: expected rows of {COLUMNS} square images; run the benchmark again with a new --out"
        )
    found = [
        sheet.crop((x, y, x + side, y + side))
        for y in range(0, sheet.height, side)
        for x in range(0, sheet.width, side)
    ]
    while found and not found[-1].getbbox():
        found.pop()
    if not found:
        raise FastdiffError(f"{path}: all images are black; name other cells with --a and --b")
    return found


def look(a: Image.Image, b: Image.Image) -> str:
    """Return a hash of two images."""
    return hashlib.sha256(a.tobytes() + b.tobytes()).hexdigest()[:16]
