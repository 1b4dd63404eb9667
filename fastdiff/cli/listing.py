"""The lists that `fastdiff list` prints: registries, recipes and trained models, one line per entry."""

import re
from enum import StrEnum
from importlib import import_module
from itertools import takewhile
from pathlib import Path

from ..core.files import read_json


class Listed(StrEnum):
    """The names of the available lists."""

    samplers = "samplers"
    methods = "methods"
    schedules = "schedules"
    datasets = "datasets"
    recipes = "recipes"
    models = "models"


def registry(module: str, name: str) -> dict[str, str]:
    """Return the names in a registry, each with a one-line description."""
    entries = getattr(import_module(f"fastdiff.{module}"), name)
    return {key: entry_line(value) for key, value in entries.items()}


def entry_line(entry: object) -> str:
    """Return the first line of an entry's docstring; a sampler's traits come before it."""
    line = (entry.__doc__ or "").strip().split("\n")[0]
    traits = getattr(entry, "traits", None)
    if not traits:
        return line
    kind = "a jump" if traits.jumps else "adaptive" if traits.adaptive else "a solver"
    return f"{kind}, order {traits.order}; NFE per step: {traits.nfe}; noise: {traits.noise}. {line}"


def recipes() -> dict[str, str]:
    """Return the recipes in ./recipes, each with the first sentence of its first comment."""
    paths = sorted(Path("recipes").glob("*.yaml"))
    return {str(path): first_sentence(path.read_text(encoding="utf-8")) for path in paths}


def first_sentence(recipe: str) -> str:
    """Return the first sentence of a recipe's first comment, which ends before an indented line."""
    lines = takewhile(re.compile("# ?[^ ]").match, recipe.splitlines())
    return re.split(r"(?<=\.) (?=[A-Za-z])", " ".join(line.lstrip("# ") for line in lines))[0]


def models() -> dict[str, str]:
    """Return the finished stages of the runs in ./checkpoints, each with its method."""
    methods = {}
    for path in sorted(Path("checkpoints").glob("*/*/fastdiff.json")):
        try:
            methods[str(path.parent)] = str(read_json(path).get("method"))
        except (ValueError, AttributeError):
            methods[str(path.parent)] = "damaged"
    return methods


LISTS = {
    Listed.samplers: lambda: registry("samplers", "SAMPLERS"),
    Listed.methods: lambda: registry("methods", "METHODS"),
    Listed.schedules: lambda: registry("core.schedule", "SCHEDULES"),
    Listed.datasets: lambda: registry("data.registry", "DATASETS"),
    Listed.recipes: recipes,
    Listed.models: models,
}
