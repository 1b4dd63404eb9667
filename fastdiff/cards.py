"""Cards of a run's models, with what the run knows beside them: its recipe and its rows."""

from pathlib import Path

from .checkpoint import about, describe, load
from .report import figures


def beside(folder: Path) -> dict[str, str]:
    """What `export` shows of a stage's folder: its name, the recipe of its run, and the table of its rows."""
    run = folder.resolve().parent
    recipe = run / "recipe.yaml"
    if not recipe.is_file():
        return {"name": folder.resolve().name}
    return {"name": f"{run.name}: {folder.resolve().name}", "recipe": recipe.read_text(), "table": figures(run, folder.name)}


def renew(folder: Path) -> None:
    """Write a stored model's card and scheduler again."""
    describe(folder, load(folder), about(folder), **beside(folder))
