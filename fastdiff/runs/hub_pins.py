"""The pins.json of a run: the commit that each hub id of the recipe referred to when the run began."""

from dataclasses import replace
from pathlib import Path

from accelerate.utils import broadcast_object_list

from ..core.errors import FastdiffError
from ..core.files import read_json
from ..core.validation import named
from ..data.registry import DATASETS, hub_id
from ..io import hub
from .recipe import Recipe

PINS_FILE = "pins.json"
DATASET_PREFIX = "datasets/"  # before the ids of data sets, because a model may have the same id

Pins = dict[str, str]  # hub id -> commit


def pin(recipe: Recipe, folder: Path) -> tuple[Recipe, Pins]:
    """Pin a recipe's hub ids to the commits in the run's pins.json, or to the newest if it has none.

    Args:
        recipe: the recipe.
        folder: the run's directory.

    Returns:
        The recipe with user/model@commit in the place of each id, and the pins.

    Raises:
        FastdiffError: for a damaged pins.json, and for an id that cannot be found on the hub.
    """
    models = hub_models(recipe)
    data = hub_id(*named(recipe.source["data"], "data"))
    known = read_pins(folder / PINS_FILE)
    pins = {name: known.get(name) or hub.commit(name) for name in sorted(models)}
    if data:
        pins[DATASET_PREFIX + data] = known.get(DATASET_PREFIX + data) or data_commit(data)
    shared = [pins]
    broadcast_object_list(shared)  # from the main process: the hub may change between two requests
    pins = shared[0]

    def pinned(name: str | None) -> str | None:
        return f"{name.partition('@')[0]}@{pins[name]}" if name in models else name

    stages = tuple(
        replace(stage, teacher=pinned(stage.teacher), init=pinned(stage.init)) for stage in recipe.stages
    )
    model = recipe.model
    if model:
        companions = {"autoencoder": pinned(model.autoencoder), "text": pinned(model.text)}
        model = model.model_copy(update=companions)
    return replace(recipe, stages=stages, model=model, revision=pins.get(f"{DATASET_PREFIX}{data}")), pins


def hub_models(recipe: Recipe) -> set[str]:
    """Return the hub ids among the models that a recipe refers to."""
    references = [recipe.model.autoencoder, recipe.model.text] if recipe.model else []
    for stage in recipe.stages:
        references += [stage.teacher, stage.init]
    return {reference for reference in references if reference and hub.is_id(reference)}


def data_commit(data: str) -> str:
    """Return the newest commit of a data set on the hub."""
    try:
        return hub.commit(data, "dataset")
    except FastdiffError as error:
        raise FastdiffError(f"data set {data!r}: not one of {', '.join(DATASETS)}; {error}") from None


def read_pins(path: Path) -> Pins:
    """Return the pins in a file, or {} if there is no file."""
    try:
        pins = read_json(path) if path.exists() else {}
        if isinstance(pins, dict) and all(map(is_commit, pins.values())):
            return pins
        reason = "expected hub ids, each with 40 hex digits"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise FastdiffError(
        f"{path} is damaged ({reason}): repair it, or delete it to continue with the newest commits"
    )


def is_commit(value: object) -> bool:
    """Return whether a value is a commit's hash."""
    return isinstance(value, str) and bool(hub.COMMIT_PATTERN.fullmatch(value))
