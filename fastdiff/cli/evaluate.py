"""The `evaluate` command: metrics of images from any program."""

from typing import Annotated

import typer

from .options import Colour, Extractors, Json, Metrics, Resolution, given, words
from .processes import is_main_process


def evaluate(
    images: Annotated[str, typer.Argument(help="Folder, parquet files or a data set's name.")],
    data: Annotated[str, typer.Option(help="Real data: a data set's name or path.")],
    resolution: Resolution = None,
    colour: Colour = None,
    extractor: Extractors = None,
    metrics: Metrics = "",
    as_json: Json = False,
) -> None:
    """Judge images from any program against a data set."""
    from ..core.files import strict_json
    from ..data.registry import DATASETS, open_dataset
    from ..evaluation.metric_names import FRECHET, family
    from ..evaluation.opening import evaluate_images

    real = open_dataset(data, **given(resolution=resolution, colour=colour))
    grey = images not in DATASETS and real.shape[0] == 1
    made = open_dataset(images, **given(colour="grey" if grey else None))
    figures = evaluate_images(made, real, extractor, words(metrics) or None)
    if not is_main_process():
        return
    if as_json:
        typer.echo(strict_json(figures))
        return
    width = max(map(len, figures))
    for name, value in figures.items():
        if isinstance(value, int | float):
            typer.echo(f"{name:{width}}  {value:.6g}")
    if figures["n"] <= figures["dims"] and any(family(name) in FRECHET for name in figures):
        typer.echo(
            f"n = {figures['n']}: expected more than dims = {figures['dims']}, otherwise the covariance is "
            "singular and a Frechet distance mostly bias; use more images",
            err=True,
        )
