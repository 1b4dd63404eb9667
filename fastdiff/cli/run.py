"""The run command."""

from pathlib import Path
from typing import Annotated

import typer


def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")
    ] = None,
    only: Annotated[str | None, typer.Option(help="Train this stage alone.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's directory instead of checkpoints/<name>.")
    ] = None,
) -> None:
    """Train all stages of a recipe, benchmark them and write the report; the same command again resumes."""
    from ..runs import recipe as recipes
    from ..runs.run import run as run_recipe

    run_recipe(recipes.load(recipe, overrides or []), out, only)
