"""Blind judgement by people: which of two images looks more real, not told whose they are; and what came of it."""

import hashlib
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

from PIL import Image
from rich.markup import escape
from rich.table import Table

from ...core.errors import FastdiffError
from ...core.files import identity
from ...core.validation import suggestion
from ...data.decode import drawn
from ..rows import read_rows
from ..summary import finite, metric_of, summary

ANSWERS = "judge.jsonl"
REAL = "real"
COLUMNS = 16  # of a sheet
HEADINGS = ("A", "B", "A preferred", "for A", "for B", "tie")
NOTE = (
    "A preferred: its share of the answers that prefer one, over all raters, and Wilson's 95 % interval; "
    "ties are only counted."
)


# ---- what is compared -----------------------------------------------------------------------------------------------


def pairings(run_dir: str | Path, a: str | None = None, b: str | None = None) -> list[tuple[str, str]]:
    """The pairs of cells to compare: each student at its fewest steps with the teacher's best and with real data.

    a, b: "model:steps" to take one cell instead of the former or the latter, of several samplers the best; b
    also "real".
    """
    path = Path(run_dir) / "bench.jsonl"
    rows = read_rows(path)
    if not rows:
        raise FastdiffError(f"no rows in {path}: run `fastdiff bench` or `fastdiff run` first")
    groups, metric = summary(rows), metric_of(rows)
    groups = sorted(groups, key=lambda g: (not finite(g[metric]), g[metric] or 0))  # the lowest is the best
    if bare := [g for g in groups if not g.get("cell")]:
        raise FastdiffError(
            f"{path}: rows of {bare[0]['model']} name no cell, and so no samples: bench again"
        )
    students = [g for g in groups if not g["teacher"]]
    fewest = [
        min((g for g in students if g["family"] == name), key=lambda g: g["steps"])["cell"]
        for name in sorted({g["family"] for g in students})
    ]
    rivals = [g["cell"] for g in groups if g["teacher"]][:1]
    rivals += [REAL] if (Path(run_dir) / "samples" / f"{REAL}.png").exists() else []
    firsts = fewest if a is None else [_named("--a", a, groups)]
    seconds = rivals if b is None else [REAL] if b == REAL else [_named("--b", b, groups)]
    found = [(one, other) for one in firsts for other in seconds if one != other]
    if not found:
        raise FastdiffError(
            f"{path} leaves nothing to compare: name two cells with --a MODEL:STEPS --b MODEL:STEPS"
        )
    return found


def _named(option, text, groups):
    """The best cell of "model:steps"."""
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
    """Two cells' images from one noise, or a real one; `sides` says which of a and b is left and which is right.

    images: what the two look like, so that a model trained again is judged again.
    """

    key: str
    a: str
    b: str
    noise: int
    images: str
    sides: tuple[str, str]
    tiles: tuple[Image.Image, Image.Image]


def questions(run_dir: str | Path, pairs: list[tuple[str, str]], rater: str, n: int) -> list[Question]:
    """The first n questions, noise by noise over all pairs, in an order and on sides that only the rater determines."""
    if n < 1:
        raise FastdiffError(f"--pairs {n}: expected at least 1")
    if not rater.strip():
        raise FastdiffError("--rater: expected a name")
    samples = Path(run_dir) / "samples"
    sheets = {
        cell: tiles(samples / f"{cell}.png")
        for cell in dict.fromkeys(cell for pair in pairs for cell in pair)
    }
    sizes = {sheet[0].width: cell for cell, sheet in sheets.items()}
    if len(sizes) > 1:
        (one, a), (other, b), *_ = sizes.items()
        raise FastdiffError(
            f"{samples}: images of {one} pixels in {a}.png and of {other} in {b}.png: expected one size; "
            "compare cells of equal size with --a and --b"
        )
    asked = []
    for noise in range(max(map(len, sheets.values()))):
        for a, b in pairs:
            if noise < min(len(sheets[a]), len(sheets[b])):
                both = sheets[a][noise], sheets[b][noise]
                images = _look(*both)
                key = identity(rater=rater, a=a, b=b, noise=noise, images=images)
                way = -1 if int(key, 16) % 2 else 1
                asked.append(Question(key, a, b, noise, images, ("a", "b")[::way], both[::way]))
    return sorted(asked[:n], key=lambda question: question.key)


def tiles(path: Path) -> list[Image.Image]:
    """The images of a sheet, in the order of their noise; black ones at its end only fill the last row."""
    if not path.exists():
        raise FastdiffError(
            f"no samples in {path}: name other cells with --a and --b, or bench again with a new --out"
        )
    sheet = drawn(path).convert("RGB")  # of all alike: a grey sheet would tell the data from the models
    if sheet.width == sheet.height:
        raise FastdiffError(f"{path} is a scatter plot: only images can be judged, not points")
    side = sheet.width // COLUMNS
    if not side or sheet.width % COLUMNS or sheet.height % side:
        raise FastdiffError(f"{path}: expected rows of {COLUMNS} square images; bench again with a new --out")
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


def _look(a, b):
    return hashlib.sha256(a.tobytes() + b.tobytes()).hexdigest()[:16]


# ---- what came of it ------------------------------------------------------------------------------------------------


def given(run_dir: str | Path) -> list[dict]:
    """The answers in `run_dir`/judge.jsonl that were not undone."""
    path = Path(run_dir) / ANSWERS
    records = [record for record in read_rows(path) if record.get("choice")]
    for record in records:
        if missing := {"a", "b", "noise", "images", "time"} - record.keys():
            raise FastdiffError(
                f"{path}: answer {record['key']} has no {min(missing)!r}; mend or delete that line"
            )
    return records


def answers(run_dir: str | Path) -> list[dict]:
    """Those of `given` that hold: about images that still look as they did when they were judged."""
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise FastdiffError(f"{run_dir}: no such directory; expected that of a run")
    records, sheets = given(run_dir), {}
    for cell in {record[side] for record in records for side in ("a", "b")}:
        with suppress(FastdiffError):
            sheets[cell] = tiles(run_dir / "samples" / f"{cell}.png")
    looks = {
        (a, b, noise): _look(*both)
        for a, b in {(record["a"], record["b"]) for record in records}
        if {a, b} <= sheets.keys()
        for noise, both in enumerate(zip(sheets[a], sheets[b]))
    }
    return [
        record
        for record in records
        if looks.get((record["a"], record["b"], record["noise"])) == record["images"]
    ]


def results(answers: list[dict]) -> list[dict]:
    """By pair: {a, b, wins, losses, ties, n, rate, low, high}, sorted, over all raters.

    rate: a's wins among the answers that prefer one, None of none, and its 95 % interval; n counts the ties
    too.
    """
    pairs = {}
    for answer in answers:
        pairs.setdefault((answer["a"], answer["b"]), []).append(answer["choice"])
    found = []
    for (a, b), choices in sorted(pairs.items()):
        wins, losses, ties = (choices.count(choice) for choice in ("a", "b", "none"))
        decided = wins + losses
        low, high = wilson(wins, decided)
        found.append(
            {
                "a": a,
                "b": b,
                "wins": wins,
                "losses": losses,
                "ties": ties,
                "n": decided + ties,
                "rate": wins / decided if decided else None,
                "low": low,
                "high": high,
            }
        )
    return found


def wilson(wins: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927); of nothing seen it is 0 to 1."""
    if not n:
        return 0.0, 1.0
    z, p = NormalDist().inv_cdf(0.975), wins / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))


def table(results: list[dict]) -> Table:
    """The terminal's view."""
    view = Table(caption=NOTE if results else "no answers yet", header_style="bold")
    view.add_column("A over B", overflow="fold")  # under one another: the table fits 80 columns
    for name in HEADINGS[2:]:
        view.add_column(name, justify="right", no_wrap=True)
    for a, b, *figures in map(cells, results):
        view.add_row(f"{escape(a)}\n{escape(b)}", *figures, end_section=True)
    return view


def markdown(results: list[dict]) -> str:
    """The same as a Markdown table with a line on how to read it."""
    lines = (HEADINGS, ["---", "---", *["---:"] * (len(HEADINGS) - 2)], *map(cells, results))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{NOTE}\n"


def cells(result: dict) -> list[str]:
    """One line of the table, under HEADINGS."""
    rate, low, high = (
        None if result[name] is None else round(100 * result[name]) for name in ("rate", "low", "high")
    )
    preferred = "–" if rate is None else f"{rate}% ({low} to {high})"
    return [result["a"], result["b"], preferred, *(str(result[name]) for name in ("wins", "losses", "ties"))]
