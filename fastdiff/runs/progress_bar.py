"""What a run shows while it works: a bar, or where nobody looks at a terminal a line now and then."""

import time
from collections.abc import Iterator
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
def bar(console: Console, title: str, total: int, done: int) -> Iterator:
    """A progress bar with remaining time; where nobody looks at a terminal, a line every tenth."""
    fixed = {"description": 16, "bar": 10, "count": 2 * len(str(total)) + 1, "gone": 7, "left": 7}
    at = {
        name: Column(no_wrap=True, min_width=width) for name, width in fixed.items()
    }  # a narrow window cuts the note
    columns = (
        TextColumn("{task.description}", table_column=at["description"]),
        BarColumn(10, table_column=at["bar"]),
        MofNCompleteColumn(table_column=at["count"]),
        TimeElapsedColumn(at["gone"]),
        TimeRemainingColumn(table_column=at["left"]),
        TextColumn("{task.fields[note]}"),
    )
    start, told = time.monotonic(), done * 10 // total
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total, completed=done, note="")

        def advance(step: int, note: str | None = None) -> None:
            nonlocal told
            progress.update(task, completed=step, **({"note": note} if note else {}))
            if not console.is_terminal and step * 10 // total > told:
                told = step * 10 // total
                left = (time.monotonic() - start) / (step - done) * (total - step)
                console.print(
                    f"{title}  {step}/{total}  {left:.0f} s left" + (f"  {note}" if note else ""),
                    highlight=False,
                    soft_wrap=True,
                )

        yield advance
