"""The progress of long work: a bar in a terminal, and ten lines in other outputs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

SILENT_SECONDS = 2  # time after which short work is long


@contextmanager
def bar(
    console: Console, title: str, total: int, done: int, transient: bool = False
) -> Iterator[Callable[..., None]]:
    """Show a progress bar with the remaining time; an output that is not a terminal gets ten lines instead.

    Args:
        console: the console that shows it.
        title: name of the work.
        total: number of steps.
        done: number of steps that are done already.
        transient: whether the bar disappears at the end, and lines begin only after SILENT_SECONDS.

    Yields:
        A function advance(step, note=None), which shows the number of finished steps and a note.
    """
    fixed = {"description": 16, "bar": 10, "count": 2 * len(str(total)) + 1, "gone": 7, "left": 7}
    # The note is the column that is cut in a narrow window.
    at = {name: Column(no_wrap=True, min_width=width) for name, width in fixed.items()}
    columns = (
        TextColumn("{task.description}", table_column=at["description"]),
        BarColumn(10, table_column=at["bar"]),
        MofNCompleteColumn(table_column=at["count"]),
        TimeElapsedColumn(at["gone"]),
        TimeRemainingColumn(table_column=at["left"]),
        TextColumn("{task.fields[note]}"),
    )
    start = time.monotonic()
    tenths = done * 10 // total
    with Progress(
        *columns, console=console, transient=transient, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(title, total=total, completed=done, note="")

        def advance(step: int, note: str | None = None) -> None:
            nonlocal tenths
            progress.update(task, completed=step, **({"note": note} if note else {}))
            spent = time.monotonic() - start
            silent = transient and spent < SILENT_SECONDS
            if not (console.is_terminal or silent) and step * 10 // total > tenths:
                tenths = step * 10 // total
                left = spent / (step - done) * (total - step)
                console.print(
                    f"{title}  {int(step)}/{total}  {left:.0f} s left" + (f"  {note}" if note else ""),
                    highlight=False,
                    soft_wrap=True,
                )

        yield advance


@contextmanager
def counting(title: str, total: int, shown: bool) -> Iterator[Callable[[], None]]:
    """Show on standard error how many of many calls are done.

    Args:
        title: name of the work.
        total: number of calls; a work may make more of them.
        shown: whether anything is shown.

    Yields:
        A function without arguments, to be called after each part of the work.
    """
    if not (shown and total):
        yield lambda: None
        return
    calls = count(1)
    with bar(Console(stderr=True), title, total, 0, transient=True) as advance:
        yield lambda: advance(min(next(calls), total))
