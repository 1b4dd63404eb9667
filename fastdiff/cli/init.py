"""The `init` command: writes a recipe that fits a data set and this machine."""

from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import FastdiffError
from .options import Colour, Resolution


def init(
    data: Annotated[str, typer.Argument(help="Images: a folder, parquet files, hub id or name.")],
    minutes: Annotated[float, typer.Option(help="Minutes for training and benchmark, here.")] = 30,
    resolution: Resolution = None,
    colour: Colour = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Recipe file to write.", show_default="NAME.yaml")
    ] = None,
) -> None:
    """Write a first recipe for your images.

    It fits the size, colour and classes of the images, and its network trains in the given time, which is
    estimated from a few steps on this machine.
    """
    check_free(out)
    import torch
    from rich.console import Console

    from ..core.files import expanded
    from ..evaluation.feature_training import name_of
    from ..runs.first_recipe import first_recipe

    out = Path(f"{name_of(data)}.yaml") if out is None else expanded(out)
    check_free(out)  # before anything is measured
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with Console(stderr=True).status("timing a few steps"):
        text = first_recipe(data, minutes, resolution, colour, device, out)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        check_free(out)
    except OSError as error:
        raise FastdiffError(f"--out {out}: cannot be written ({error.strerror}); name another file") from None
    typer.echo(text, nl=False)
    typer.echo(f"\n{out}: written; train it with:\nfastdiff run {out}")


def check_free(out: Path | None) -> None:
    """Raise FastdiffError if a file exists already."""
    if out is not None and out.exists():
        raise FastdiffError(f"--out {out}: exists already; name another file")
