"""The export command."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import FastdiffError
from .options import Model

# Keys of a model's fastdiff.json that its export takes over.
KEPT_METADATA_KEYS = ("method", "origin", "ema", "cost", "collapsed", "sources", "licences", "card")


class Target(StrEnum):
    """The formats that a model is exported to."""

    diffusers = "diffusers"


def export(
    model: Model,
    out: Annotated[Path, typer.Option(help="A new folder.")],
    to: Annotated[Target, typer.Option(help="The format.")] = Target.diffusers,
) -> None:
    """Write a model as a plain diffusers folder."""
    if out.exists():
        raise FastdiffError(f"--out {out} exists: name a new folder")
    from ..core.files import make_directory
    from ..io.export.model import export as export_model
    from ..io.export.script import script
    from ..io.licences import CARD_FILE, lineage
    from ..io.load import load, read_metadata
    from ..runs.cards import card_context

    folder = Path(model).expanduser()
    source = load(model)
    notes = read_metadata(folder)
    if notes is None:
        weights = (folder.name, folder) if folder.is_dir() else (model, model)
        notes = lineage({"weights": weights})
    make_directory(out, "--out")
    kept = {key: notes[key] for key in KEPT_METADATA_KEYS if key in notes}
    shown = card_context(folder) if folder.is_dir() else {"name": model}
    export_model(source, out, kept, **shown)
    python, why = script(source)
    typer.echo(f"{model} as {to.value} in {out}")
    if python:
        typer.echo(f"{out / CARD_FILE} has the script that samples it by diffusers alone")
    else:
        typer.echo(f"{out / CARD_FILE}: {why}")
