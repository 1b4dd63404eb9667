"""The `export` command: writes any model that fastdiff can load as a diffusers folder."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import FastdiffError
from .options import Model

# Keys of a model's fastdiff.json that an export copies.
KEPT_METADATA_KEYS = (
    *("method", "origin", "ema", "cost", "collapsed", "chance_auc"),
    *("class_names", "sources", "licences", "safeguards", "card"),
)


class Target(StrEnum):
    """The formats that a model can be exported to."""

    diffusers = "diffusers"


def export(
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; it must not exist yet.")],
    to: Annotated[Target, typer.Option(help="Format to write.")] = Target.diffusers,
) -> None:
    """Write a model as a plain diffusers folder.

    The folder also has a model card with a script that samples the model without fastdiff.
    """
    if os.path.lexists(out):
        raise FastdiffError(f"--out {out}: exists already; name a new folder")
    from ..core.files import expanded, make_directory
    from ..io.export.model import export as export_model
    from ..io.export.script import script
    from ..io.licences import CARD_FILE, lineage
    from ..io.load import load, model_folder, read_metadata
    from ..runs.cards import card_context

    folder = expanded(model_folder(model))
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
    typer.echo(f"{model} exported for {to.value} to {out}")
    if python:
        typer.echo(f"{out / CARD_FILE} has a script that samples it with diffusers only")
    else:
        typer.echo(f"{out / CARD_FILE}: {why}")
