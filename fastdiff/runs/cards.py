"""The model cards of a run, with the recipe and the benchmark rows, which only the run has."""

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
    """Return the name, recipe and table of benchmark rows that a stage's card shows."""
    run = folder.resolve().parent
    name = folder.resolve().name
    path = run / "recipe.yaml"
    if not path.is_file():
        return {"name": name}
    recipe = published(yaml.safe_load(path.read_text(encoding="utf-8")))
    return {
        "name": f"{run.name}: {name}",
        "recipe": yaml.safe_dump(recipe, sort_keys=False),
        "table": figures(run, name),
    }


def published(value: Any) -> Any:
    """Return a recipe's plain data with local paths cut to their last components."""
    if isinstance(value, dict):
        return {key: published(item) for key, item in value.items()}
    if isinstance(value, list):
        return [published(item) for item in value]
    return re.sub(r"(^|:)(~|/(?!/))\S*/", r"\1", value) if isinstance(value, str) else value


def renew(folder: Path) -> None:
    """Rewrite a stored model's card and its scheduler's configuration, if the card has changed."""
    model = load(folder)
    notes = read_metadata(folder)
    shown = card_context(folder)
    card = folder / CARD_FILE
    if not card.is_file() or card.read_text(encoding="utf-8") != text(model, notes, **shown):
        describe(folder, model, notes, **shown)
