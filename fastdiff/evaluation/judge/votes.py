"""The votes of a blind comparison: answers in judge.jsonl, and their results."""

import math
from contextlib import suppress
from pathlib import Path
from statistics import NormalDist

from rich.markup import escape
from rich.table import Table

from ...core.errors import FastdiffError
from ..rows import read_rows
from .questions import look, tiles

ANSWERS = "judge.jsonl"
HEADINGS = ("A", "B", "A preferred", "for A", "for B", "tie")
NOTE = (
    "A preferred: percentage of the answers with a preference that prefer A, over all raters, with Wilson's "
    "95 % interval; ties are only counted."
)


def given(run_dir: str | Path) -> list[dict]:
    """Return the answers in judge.jsonl that were not undone; raise FastdiffError for damaged ones."""
    path = Path(run_dir) / ANSWERS
    records = [record for record in read_rows(path) if record.get("choice")]
    for record in records:
        if missing := {"a", "b", "noise", "images", "time"} - record.keys():
            raise FastdiffError(
                f"{path}: answer {record['key']} has no {min(missing)!r}; repair or delete that line"
            )
    return records


def answers(run_dir: str | Path) -> list[dict]:
    """Return the valid answers: those of `given` about images that have not changed since.

    Raises:
        FastdiffError: if the folder does not exist, or judge.jsonl is damaged.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise FastdiffError(f"{run_dir}: no such directory; expected the directory of a run")
    records = given(run_dir)
    sheets = {}
    for cell in {record[side] for record in records for side in ("a", "b")}:
        with suppress(FastdiffError):
            sheets[cell] = tiles(run_dir / "samples" / f"{cell}.png")
    looks = {}
    for a, b in {(record["a"], record["b"]) for record in records}:
        if {a, b} <= sheets.keys():
            for noise, both in enumerate(zip(sheets[a], sheets[b])):
                looks[a, b, noise] = look(*both)
    return [
        record
        for record in records
        if looks.get((record["a"], record["b"], record["noise"])) == record["images"]
    ]


def results(answers: list[dict]) -> list[dict]:
    """Count the answers of all raters.

    Args:
        answers: answers from `answers`.

    Returns:
        A dict for each pair, sorted: a, b, wins and losses of a, ties, n (with ties), rate (wins / (wins +
        losses), None without such answers), and low and high, the ends of its 95 % interval.
    """
    pairs: dict[tuple[str, str], list[str]] = {}
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
    """Return the 95 % score interval of a proportion (Wilson 1927); 0 to 1 for n = 0."""
    if not n:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.975)
    p = wins / n
    middle = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def table(results: list[dict]) -> Table:
    """Return the table of results for the terminal."""
    view = Table(caption=NOTE if results else "no answers yet", header_style="bold")
    view.add_column("A over B", overflow="fold")  # stacked, so that the table fits 80 columns
    for name in HEADINGS[2:]:
        view.add_column(name, justify="right", no_wrap=True)
    for a, b, *figures in map(cells, results):
        view.add_row(f"{escape(a)}\n{escape(b)}", *figures, end_section=True)
    return view


def markdown(results: list[dict]) -> str:
    """Return results as a Markdown table, with a line on how to read it."""
    lines = (HEADINGS, ["---", "---", *["---:"] * (len(HEADINGS) - 2)], *map(cells, results))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{NOTE}\n"


def cells(result: dict) -> list[str]:
    """Return the texts of a result, in the order of HEADINGS."""
    preferred = "–"
    if result["rate"] is not None:
        rate, low, high = (round(100 * result[name]) for name in ("rate", "low", "high"))
        preferred = f"{rate}% ({low} to {high})"
    counts = [str(result[name]) for name in ("wins", "losses", "ties")]
    return [result["a"], result["b"], preferred, *counts]
