"""The progress of a run: a bar in a terminal, and ten lines in other outputs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


@contextmanager
def bar(console: Console, title: str, total: int, done: int) -> Iterator[Callable[..., None]]:
    """Show a progress bar with the remaining time; an output that is not a terminal gets ten lines instead.

    Args:
        console: the console that shows it.
        title: name of the work.
        total: number of steps.
        done: number of steps that are done already.

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
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total, completed=done, note="")

        def advance(step: int, note: str | None = None) -> None:
            nonlocal tenths
            progress.update(task, completed=step, **({"note": note} if note else {}))
            if not console.is_terminal and step * 10 // total > tenths:
                tenths = step * 10 // total
                left = (time.monotonic() - start) / (step - done) * (total - step)
                console.print(
                    f"{title}  {step}/{total}  {left:.0f} s left" + (f"  {note}" if note else ""),
                    highlight=False,
                    soft_wrap=True,
                )

        yield advance
