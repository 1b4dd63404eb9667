"""The `run` command: trains, benchmarks and reports a recipe."""

from pathlib import Path
from typing import Annotated

import typer


def run(
    recipe: Annotated[Path, typer.Argument(help="Recipe file, or the name of a shipped one.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings to change, such as train.lr=3e-4."),
    ] = None,
    only: Annotated[str | None, typer.Option(help="The only stage to train; nothing is benchmarked.")] = None,
    no_bench: Annotated[
        bool, typer.Option("--no-bench", help="Train only, without the benchmark (bench=false).")
    ] = False,
    redo: Annotated[
        list[str] | None, typer.Option(help="Stage to train again if its settings changed.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the run.", show_default="checkpoints/NAME"),
    ] = None,
) -> None:
    """Train, benchmark and report a recipe.

    Run the same command again to resume.
    """
    from ..runs.known_keys import check_file

    check_file(recipe, overrides or [])
    from ..runs import recipe as recipes
    from ..runs.run import run as run_recipe

    source = recipes.load(recipe, [*(overrides or []), *(["bench=false"] if no_bench else [])])
    run_recipe(source, out, only, tuple(redo or ()))
