"""Verbs that show what there is: status, report, judge, list, doctor."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import FastdiffError
from ..core.files import strict_json
from .listing import LISTS, Listed
from .options import Json


def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's directory.")],
    as_json: Json = False,
) -> None:
    """Tell what a run does, or what became of it."""
    from ..runs.status import lines
    from ..runs.status import status as look

    found = look(folder)
    if as_json:
        typer.echo(strict_json(found))
    else:
        show(f"{found['name']}, in {found['folder']}", lines(found))


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's directory.")],
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

    try:
        paths = reports.write(folder, ["report.tex"] * latex + ["bench.csv"] * csv)
    except OSError as error:
        raise FastdiffError(f"{folder}: the report cannot be written ({error.strerror})") from None
    rows = read_rows(folder / "bench.jsonl")
    if as_json:
        typer.echo(strict_json(reports.summary(rows)))
    else:
        Console().print(reports.table(rows))
        typer.echo("\n".join(map(str, paths)))


def judge(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's directory.")],
    a: Annotated[
        str | None, typer.Option(metavar="MODEL:STEPS", help="Instead of every student at its fewest.")
    ] = None,
    b: Annotated[
        str | None, typer.Option(metavar="MODEL:STEPS|real", help="Instead of the teacher's best, real.")
    ] = None,
    pairs: Annotated[int, typer.Option(help="How many to ask.")] = 64,
    port: Annotated[int, typer.Option(help="Of 127.0.0.1; 0 for a free one.")] = 0,
    rater: Annotated[str, typer.Option(help="Who judges; nobody is asked the same twice.")] = "rater",
    browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
    alone: Annotated[bool, typer.Option("--results", help="Only say what came of it.")] = False,
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
    """What there is, a line each."""
    lines = LISTS[what]()
    if as_json:
        typer.echo(json.dumps(lines))
    else:
        width = max((len(name) for name in lines), default=0)
        typer.echo("\n".join(f"{name:{width}}  {about}".rstrip() for name, about in lines.items()))


def doctor(as_json: Json = False) -> None:
    """Check the installation, devices, weights, folders, and a training of two seconds."""
    from ..runs.doctor import checks

    found = []
    for check in checks():
        found.append(check)
        if not as_json:
            show("", {f"{check.verdict:4} {check.what:12}": check.said})
    if as_json:
        typer.echo(json.dumps([check._asdict() for check in found]))
    if any(check.verdict == "FAIL" for check in found):
        raise typer.Exit(1)


def show(title: str, lines: dict[str, str]) -> None:
    """Lines with their names before them, folded where somebody looks at a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for name, line in lines.items():
        grid.add_row(Text(name), Text(line, overflow="fold"))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)
    console.print(*([Text(title)] if title else []), grid, sep="\n")
