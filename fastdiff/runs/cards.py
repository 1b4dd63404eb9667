"""Cards of a run's models: with the recipe and the benchmark's rows, which only the run has."""

import re
from pathlib import Path
from typing import Any

import yaml

from ..evaluation.report import figures
from ..io.export.card import text
from ..io.export.model import describe
from ..io.licences import CARD_FILE
from ..io.load import load, read_metadata


def card_context(folder: Path) -> dict[str, str]:
    """Return what the card of a stage's folder shows of its run: name, recipe, and the table of its rows."""
    run = folder.resolve().parent
    name = folder.resolve().name
    path = run / "recipe.yaml"
    if not path.is_file():
        return {"name": name}
    recipe = published(yaml.safe_load(path.read_text()))
    return {
        "name": f"{run.name}: {name}",
        "recipe": yaml.safe_dump(recipe, sort_keys=False),
        "table": figures(run, name),
    }


def published(value: Any) -> Any:
    """Return a recipe's plain data with paths of this machine cut to their last parts."""
    if isinstance(value, dict):
        return {key: published(item) for key, item in value.items()}
    if isinstance(value, list):
        return [published(item) for item in value]
    return re.sub(r"(^|:)(~|/(?!/))\S*/", r"\1", value) if isinstance(value, str) else value


def renew(folder: Path) -> None:
    """Write a stored model's card and its scheduler's configuration again, if the card has changed."""
    model = load(folder)
    notes = read_metadata(folder)
    shown = card_context(folder)
    card = folder / CARD_FILE
    if not card.is_file() or card.read_text(encoding="utf-8") != text(model, notes, **shown):
        describe(folder, model, notes, **shown)
