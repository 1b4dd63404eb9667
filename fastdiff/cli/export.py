"""The export command."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import FastdiffError
from .options import Model


class Target(StrEnum):
    """Formats of `export`."""

    diffusers = "diffusers"


def export(
    model: Model,
    out: Annotated[Path, typer.Option(help="A new folder.")],
    to: Annotated[Target, typer.Option(help="The format.")] = Target.diffusers,
) -> None:
    """Write a model as a plain diffusers folder."""
    if out.exists():
        raise FastdiffError(f"--out {out} exists: name a new folder")
    from ..io.export.model import export as write
    from ..io.export.script import script
    from ..io.licences import CARD, lineage
    from ..io.load import about, load
    from ..runs.cards import beside

    folder = Path(model).expanduser()
    source, notes = load(model), about(folder)
    if notes is None:
        notes = lineage(
            {"weights": (folder.name if folder.is_dir() else model, folder if folder.is_dir() else model)}
        )
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise FastdiffError(f"--out {out}: cannot be written ({error.strerror})") from None
    known = ("method", "origin", "ema", "cost", "collapsed", "sources", "licences", "card")
    kept = {key: notes[key] for key in known if key in notes}
    write(source, out, kept, **(beside(folder) if folder.is_dir() else {"name": model}))
    python, why = script(source)
    typer.echo(f"{model} as {to.value} in {out}")
    typer.echo(
        f"{out / CARD} has the script that samples it by diffusers alone"
        if python
        else f"{out / CARD}: {why}"
    )
