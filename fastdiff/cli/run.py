"""The `run` command: trains, benchmarks and reports a recipe."""

from pathlib import Path
from typing import Annotated

import typer


def run(
    recipe: Annotated[Path, typer.Argument(help="Recipe file (YAML) to run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings to change, such as train.lr=3e-4."),
    ] = None,
    only: Annotated[str | None, typer.Option(help="The only stage to train; nothing is benchmarked.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the run.", show_default="checkpoints/NAME"),
    ] = None,
) -> None:
    """Train, benchmark and report a recipe.

    Run the same command again to resume.
    """
    from ..runs import recipe as recipes
    from ..runs.run import run as run_recipe

    run_recipe(recipes.load(recipe, overrides or []), out, only)
