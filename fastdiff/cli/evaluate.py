"""The evaluate command."""

import os
from typing import Annotated

import typer

from .options import Extractors, Json, Metrics, Resolution, given, words


def evaluate(
    images: Annotated[str, typer.Argument(help="A folder of images, parquet files or a data set's name.")],
    data: Annotated[str, typer.Option(help="What they are compared with: a data set's name or path.")],
    resolution: Resolution = None,
    extractor: Extractors = None,
    metrics: Metrics = "",
    as_json: Json = False,
) -> None:
    """Judge images made by any program as samples of a data set."""
    from ..core.files import strict_json
    from ..data.registry import DATASETS, open_dataset
    from ..evaluation.evaluator import evaluate_images

    real = open_dataset(data, **given(resolution=resolution))
    grey = images not in DATASETS and real.shape[0] == 1
    made = open_dataset(images, **({"colour": "grey"} if grey else {}))
    figures = evaluate_images(made, real, extractor, words(metrics) or None)
    if int(os.environ.get("RANK", 0)):
        return
    if as_json:
        typer.echo(strict_json(figures))
    else:
        width = max(map(len, figures))
        shown = {name: value for name, value in figures.items() if isinstance(value, int | float)}
        typer.echo("\n".join(f"{name:{width}}  {value:.6g}" for name, value in shown.items()))
        if figures["n"] <= figures["dims"]:
            typer.echo(
                "n is not above dims: the covariance is singular and a Frechet distance mostly bias", err=True
            )
