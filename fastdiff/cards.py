"""Cards of a run's models, with what the run knows beside them: its recipe and its rows."""

from pathlib import Path

from .card import text
from .checkpoint import about, describe, load
from .licences import CARD
from .report import figures


def beside(folder: Path) -> dict[str, str]:
    """What the card of a stage's folder shows: its name, the recipe of its run, and the table of its rows."""
    run, name = folder.resolve().parent, folder.resolve().name
    recipe = run / "recipe.yaml"
    if not recipe.is_file():
        return {"name": name}
    return {"name": f"{run.name}: {name}", "recipe": recipe.read_text(), "table": figures(run, name)}


def renew(folder: Path) -> None:
    """Write a stored model's card and scheduler again, where the card has something new to say."""
    model, notes, shown = load(folder), about(folder), beside(folder)
    if not (folder / CARD).is_file() or (folder / CARD).read_text(encoding="utf-8") != text(model, notes, **shown):
        describe(folder, model, notes, **shown)
