"""The commands that inspect runs and the installation: status, report, judge, doctor."""

import json
import sys
from typing import Annotated

import typer

from ..core.errors import FastdiffError
from ..core.files import strict_json
from .options import Json, RunFolder


def status(
    folder: RunFolder,
    as_json: Json = False,
) -> None:
    """Show a run's progress or outcome."""
    from ..runs import status as statuses

    run_status = statuses.status(folder)
    if as_json:
        typer.echo(strict_json(run_status))
    else:
        show(f"{run_status['name']}, in {run_status['folder']}", statuses.lines(run_status))


def report(
    folder: RunFolder,
    latex: Annotated[
        bool, typer.Option("--latex", help="Also write report.tex, a table for a paper.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Also write bench.csv, a table of all rows.")] = False,
    as_json: Json = False,
) -> None:
    """Write a benchmark's report and plots again.

    report.md, report.html and the plots are drawn from the rows in bench.jsonl; nothing is measured again.
    """
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
        raise FastdiffError(
            f"{folder}: the report cannot be written ({error.strerror}); make the folder writable"
        ) from None
    rows = read_rows(folder / "bench.jsonl")
    if as_json:
        typer.echo(strict_json(reports.summary(rows)))
    else:
        reports.print_table(reports.table(rows))
        typer.echo("\n".join(map(str, paths)))


def judge(
    folder: RunFolder,
    a: Annotated[
        str | None,
        typer.Option(
            metavar="NAME:STEPS",
            help="Model A.",
            show_default="every student at its lowest number of steps",
        ),
    ] = None,
    b: Annotated[
        str | None,
        typer.Option(
            metavar="NAME:STEPS|real",
            help="Model B, or `real` for images of the data.",
            show_default="the teacher's best samples, and real images",
        ),
    ] = None,
    pairs: Annotated[int, typer.Option(help="Number of image pairs to show.")] = 64,
    port: Annotated[int, typer.Option(help="Port of the page; 0 chooses a free one.")] = 0,
    rater: Annotated[str, typer.Option(help="Name of the person who judges.")] = "rater",
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Whether to open the page in a browser.")
    ] = False,
    results_only: Annotated[
        bool, typer.Option("--results", help="Only show the results so far, without a page.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare two models' samples blindly, in a browser.

    A local page shows pairs of images, and a person chooses the one that looks more real.
    """
    from ..evaluation.judge import answers, results, server, table
    from ..evaluation.report import print_table

    if not results_only:
        server.serve(folder, a, b, pairs=pairs, port=port, rater=rater, browser=browser)
    outcome = results(answers(folder))
    if as_json:
        typer.echo(json.dumps(outcome))
    else:
        print_table(table(outcome))


def doctor(as_json: Json = False) -> None:
    """Check the installation and train for two seconds.

    It looks at Python, packages, GPUs, weights of feature networks, folders and processes.
    """
    from ..runs.doctor import checks

    results = []
    for check in checks():
        results.append(check)
        if not as_json:
            show("", {f"{check.verdict:4} {check.what:12}": check.message})
    if as_json:
        typer.echo(json.dumps([check._asdict() for check in results]))
    if any(check.verdict == "FAIL" for check in results):
        raise typer.Exit(1)


def show(title: str, lines: dict[str, str]) -> None:
    """Print a title and lines, each after its name; long lines are folded in a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for name, line in lines.items():
        grid.add_row(Text(name), Text(line, overflow="fold"))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)
    console.print(*([Text(title)] if title else []), grid, sep="\n")
