"""The `list` command: what there is, with settings, types, defaults, papers and recipes."""

import shutil
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from ..core.files import strict_json
from .catalogue import SECTIONS, TITLES, Entry, Listed, entry, kind_of, lines, section
from .options import Json


def kinds() -> list[str]:
    """Return the names of all kinds, for the shell's completion."""
    return [kind.value for kind in Listed]


def list_(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="WHAT",
            help="A kind, such as methods.",
            show_default="all kinds",
            autocompletion=kinds,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A name of that kind, to show in full.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List methods, settings, samplers, recipes, models.

    Without arguments it lists everything, a line for each name. WHAT lists one kind, and WHAT NAME shows one
    entry in full: its settings with types and defaults, its paper and its recipe.
    """
    if what is None:
        return overview(as_json)
    kind = kind_of(what)
    if name is not None or kind in SECTIONS:
        return show_entry(section(kind) if name is None else entry(kind, name), as_json)
    found = lines(kind)
    if as_json:
        typer.echo(strict_json(found))
    elif found:
        show_lines(found)
    else:
        where = "checkpoints" if kind is Listed.models else kind
        typer.echo(f"no {kind} in {Path(where).resolve()}", err=True)


def overview(as_json: bool) -> None:
    """Print all kinds, a line for each name."""
    if as_json:
        typer.echo(strict_json({kind.value: lines(kind) for kind in Listed}))
        return
    for kind in Listed:
        typer.echo(f"{kind.value}: {TITLES[kind]}")
        show_lines({f"  {name}": text for name, text in lines(kind).items()} or {"  none": ""}, crop=True)
        typer.echo()
    typer.echo(
        "fastdiff list WHAT shows one kind; fastdiff list WHAT NAME, such as methods ect, its settings"
    )


def show_entry(one: Entry, as_json: bool) -> None:
    """Print one entry: its facts, and each setting with its default, type and meaning."""
    if as_json:
        facts = {"name": one.name, "summary": one.summary, **one.facts}
        typer.echo(strict_json(facts | {"settings": [setting._asdict() for setting in one.settings]}))
        return
    typer.echo(folded(f"{one.name}: {one.summary}" if one.summary else one.name))
    for what, text in one.facts.items():
        typer.echo(folded(f"{what}: {text}", "  "))
    for setting in one.settings:
        typer.echo(f"\n{setting.name}: {setting.default}")
        for text in (setting.type, setting.meaning):
            typer.echo(folded(text, "    "))


def show_lines(found: dict[str, str], crop: bool = False) -> None:
    """Print names with their lines, each next to its name.

    Args:
        found: lines by name.
        crop: whether a line is cut at the width of the terminal, and not folded.
    """
    width = max(map(len, found))
    for name, text in found.items():
        line = f"{name:{width}}  {text}".rstrip()
        if crop and len(line) > (columns() or len(line)):
            line = line[: columns() - 3] + "..."
        typer.echo(line if crop else folded(line, "", width + 2))


def folded(text: str, indent: str = "", more: int = 0) -> str:
    """Return a text folded at the width of the terminal.

    Args:
        text: text without line breaks.
        indent: beginning of each line.
        more: number of further spaces at the beginning of the second and later lines.
    """
    if not columns():
        return indent + text
    width = max(columns(), more + 20)
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent + " " * more)


def columns() -> int | None:
    """Return the width of the terminal in characters; None if the output is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
