"""Cards of a run's models, with what the run knows beside them: its recipe and its rows."""

import re
from pathlib import Path
from typing import Any

import yaml

from ..evaluation.report import figures
from ..io.export.card import text
from ..io.export.model import describe
from ..io.licences import CARD
from ..io.load import about, load


def beside(folder: Path) -> dict[str, str]:
    """What the card of a stage's folder shows: its name, the recipe of its run, and the table of its rows."""
    run, name = folder.resolve().parent, folder.resolve().name
    recipe = run / "recipe.yaml"
    if not recipe.is_file():
        return {"name": name}
    said = yaml.safe_dump(published(yaml.safe_load(recipe.read_text())), sort_keys=False)
    return {"name": f"{run.name}: {name}", "recipe": said, "table": figures(run, name)}


def published(said: Any) -> Any:
    """A recipe's settings, of paths of this machine their last parts."""
    if isinstance(said, dict):
        return {key: published(value) for key, value in said.items()}
    if isinstance(said, list):
        return [published(value) for value in said]
    return re.sub(r"(^|:)(~|/(?!/))\S*/", r"\1", said) if isinstance(said, str) else said


def renew(folder: Path) -> None:
    """Write a stored model's card and scheduler again, where the card has something new to say."""
    model, notes, shown = load(folder), about(folder), beside(folder)
    if not (folder / CARD).is_file() or (folder / CARD).read_text(encoding="utf-8") != text(
        model, notes, **shown
    ):
        describe(folder, model, notes, **shown)
