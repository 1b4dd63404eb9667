"""The commands that show what there is: status, report, judge, list, doctor."""

import json
import sys
from typing import Annotated

import typer

from ..core.errors import FastdiffError
from ..core.files import strict_json
from .listing import LISTS, Listed
from .options import Json, RunFolder


def status(
    folder: RunFolder,
    as_json: Json = False,
) -> None:
    """Show what a run does, or how it ended."""
    from ..runs import status as statuses

    found = statuses.status(folder)
    if as_json:
        typer.echo(strict_json(found))
    else:
        show(f"{found['name']}, in {found['folder']}", statuses.lines(found))


def report(
    folder: RunFolder,
    latex: Annotated[
        bool, typer.Option("--latex", help="Write report.tex too, a table for a paper.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Write bench.csv too, all rows.")] = False,
    as_json: Json = False,
) -> None:
    """Write report.md, report.html and the plots again, from the rows alone."""
    from rich.console import Console

    from ..evaluation import report as reports
    from ..evaluation.rows import read_rows

    extra = []
    if latex:
        extra.append("report.tex")
    if csv:
        extra.append("bench.csv")
    try:
        paths = reports.write(folder, extra)
    except OSError as error:
        raise FastdiffError(f"{folder}: the report cannot be written ({error.strerror})") from None
    rows = read_rows(folder / "bench.jsonl")
    if as_json:
        typer.echo(strict_json(reports.summary(rows)))
    else:
        Console().print(reports.table(rows))
        typer.echo("\n".join(map(str, paths)))


def judge(
    folder: RunFolder,
    a: Annotated[
        str | None, typer.Option(metavar="MODEL:STEPS", help="Instead of every student at its fewest.")
    ] = None,
    b: Annotated[
        str | None, typer.Option(metavar="MODEL:STEPS|real", help="Instead of the teacher's best, real.")
    ] = None,
    pairs: Annotated[int, typer.Option(help="Number of pairs to show.")] = 64,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 for a free one.")] = 0,
    rater: Annotated[str, typer.Option(help="Name of the rater, who sees no pair twice.")] = "rater",
    browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
    alone: Annotated[bool, typer.Option("--results", help="Only show the results so far.")] = False,
    as_json: Json = False,
) -> None:
    """Let people judge blindly which samples look more real."""
    from rich.console import Console

    from ..evaluation.judge import answers, results, server, table

    if not alone:
        server.serve(folder, a, b, pairs=pairs, port=port, rater=rater, browser=browser)
    found = results(answers(folder))
    if as_json:
        typer.echo(json.dumps(found))
    else:
        Console().print(table(found))


def list_(what: Listed, as_json: Json = False) -> None:
    """List samplers, methods, schedules, data sets, recipes or models, a line each."""
    lines = LISTS[what]()
    if as_json:
        typer.echo(json.dumps(lines))
    else:
        width = max((len(name) for name in lines), default=0)
        typer.echo("\n".join(f"{name:{width}}  {line}".rstrip() for name, line in lines.items()))


def doctor(as_json: Json = False) -> None:
    """Check the installation, devices, weights, folders, and a training of two seconds."""
    from ..runs.doctor import checks

    found = []
    for check in checks():
        found.append(check)
        if not as_json:
            show("", {f"{check.verdict:4} {check.what:12}": check.message})
    if as_json:
        typer.echo(json.dumps([check._asdict() for check in found]))
    if any(check.verdict == "FAIL" for check in found):
        raise typer.Exit(1)


def show(title: str, lines: dict[str, str]) -> None:
    """Print lines after their names; in a terminal long ones are folded."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for name, line in lines.items():
        grid.add_row(Text(name), Text(line, overflow="fold"))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)
    console.print(*([Text(title)] if title else []), grid, sep="\n")
