"""The `features` command: trains the feature network that judges the images of any data set."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import FastdiffError
from .options import Colour, Resolution, given

if TYPE_CHECKING:
    from ..data.registry import Dataset


def features(
    data: Annotated[
        str,
        typer.Argument(help="Images: a folder, hub id or name; or a recipe's data."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for the network.")],
    resolution: Resolution = None,
    colour: Colour = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the figures, fd_NAME.", show_default="the data's")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the images.", show_default="12, more for few images"),
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Also train on mirrored images.")] = False,
) -> None:
    """Train a feature network that judges your images.

    It learns to distinguish the classes of the data, or, without classes, rotations of the images. A
    benchmark uses it with bench.extractor=FOLDER, and names its figures after the data, such as fd_shapes.
    """
    if os.path.lexists(out):
        raise FastdiffError(f"--out {out}: exists already; name a new folder")
    import torch
    from rich.console import Console

    from ..core.progress_bar import bar
    from ..evaluation.feature_training import train_features, write_features

    dataset, test = opened(data, given(resolution=resolution, colour=colour))
    with ExitStack() as stack:
        advance = None

        def watch(step: int, steps: int, loss: float) -> None:
            nonlocal advance
            advance = advance or stack.enter_context(bar(Console(stderr=True), "features", steps, 0))
            advance(step, f"loss {loss:.3f}")

        device = "cuda" if torch.cuda.is_available() else "cpu"
        trained = train_features(dataset, test, name, epochs, flip, device, watch=watch)
    write_features(trained, out)
    info = trained.info
    typer.echo(
        f"{out}: fd_{info['name']}, accuracy {info['test_accuracy']:.3f} (by chance "
        f"{info['chance_accuracy']:.3f}), trained on {info['trained_on']}"
    )
    typer.echo(f"use it with: fastdiff run RECIPE bench.extractor={out}")


def opened(data: str, options: dict[str, int | str]) -> "tuple[Dataset, Dataset | None]":
    """Open the images to train on, and those of the split `test` if there is one.

    Args:
        data: name, path or hub id of a data set, or the path of a recipe.
        options: resolution and colour, where given; none with a recipe, which states them.
    """
    from functools import partial

    from ..data.registry import open_dataset
    from ..runs import recipe as recipes

    if data.lower().endswith((".yaml", ".yml")):
        if options:
            raise FastdiffError(f"--{min(options)}: the recipe {data} states it; leave it out")
        read = recipes.load(data).dataset
    else:
        read = partial(open_dataset, data, **options)
    dataset = read().reference
    try:
        test = read(split="test").reference
    except FastdiffError:
        return dataset, None
    return dataset, None if test.fingerprint == dataset.fingerprint else test
