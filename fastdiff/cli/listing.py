"""The lists of `fastdiff list`: registries, recipes and trained models, each with a line about it."""

from enum import StrEnum
from importlib import import_module
from pathlib import Path

from ..core.files import read_json


class Listed(StrEnum):
    """The lists that there are."""

    samplers = "samplers"
    methods = "methods"
    schedules = "schedules"
    datasets = "datasets"
    recipes = "recipes"
    models = "models"


def registry(module: str, name: str) -> dict[str, str]:
    """Return the entries of a registry, each with a line about it."""
    entries = getattr(import_module(f"fastdiff.{module}"), name)
    return {key: entry_line(value) for key, value in entries.items()}


def entry_line(entry: object) -> str:
    """Return the first line of an entry's documentation, with a sampler's traits before it."""
    line = (entry.__doc__ or "").strip().split("\n")[0]
    traits = getattr(entry, "traits", None)
    if not traits:
        return line
    kind = "a jump" if traits.jumps else "adaptive" if traits.adaptive else "a solver"
    return f"{kind}, order {traits.order}; NFE a step: {traits.nfe}; noise: {traits.noise}. {line}"


def recipes() -> dict[str, str]:
    """Return the recipes below this directory, each with its first comment."""
    paths = sorted(Path("recipes").glob("*.yaml"))
    return {str(path): path.read_text().split("\n")[0].lstrip("# ") for path in paths}


def models() -> dict[str, str]:
    """Return the finished stages below this directory, each with its method."""
    found = {}
    for path in sorted(Path("checkpoints").glob("*/*/fastdiff.json")):
        try:
            found[str(path.parent)] = str(read_json(path).get("method"))
        except (ValueError, AttributeError):
            found[str(path.parent)] = "damaged"
    return found


LISTS = {
    Listed.samplers: lambda: registry("samplers", "SAMPLERS"),
    Listed.methods: lambda: registry("methods", "METHODS"),
    Listed.schedules: lambda: registry("core.schedule", "SCHEDULES"),
    Listed.datasets: lambda: registry("data.registry", "DATASETS"),
    Listed.recipes: recipes,
    Listed.models: models,
}
