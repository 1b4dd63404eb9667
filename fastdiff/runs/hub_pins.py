"""pins.json of a run: the commit that every hub id of its recipe meant when the run began."""

from dataclasses import replace
from pathlib import Path

from accelerate.utils import broadcast_object_list

from ..core.errors import FastdiffError
from ..core.files import read_json
from ..core.validation import named
from ..data.registry import DATASETS, hub_id
from ..io import hub
from .recipe import Recipe

PINS = "pins.json"
DATA = "datasets/"  # before the id of a data set: a model may have the same


def pin(recipe: Recipe, folder: Path) -> tuple[Recipe, dict[str, str]]:
    """The recipe with its hub ids at the commits in the folder's pins.json, else at today's; and all pins."""
    references = {
        recipe.model.autoencoder,
        recipe.model.text,
        *(reference for stage in recipe.stages for reference in (stage.teacher, stage.init)),
    }
    models = {name for name in references if name and hub.is_id(name)}
    data = hub_id(*named(recipe.source["data"], "data"))
    known = read(folder / PINS)
    pins = {name: known.get(name) or hub.commit(name) for name in sorted(models)}
    if data:
        pins[DATA + data] = known.get(DATA + data) or commit(data)
    broadcast_object_list(shared := [pins])  # of the main process: the hub may move on between two questions
    [pins] = shared

    def at(name: str | None) -> str | None:
        return f"{name.partition('@')[0]}@{pins[name]}" if name in models else name

    stages = tuple(replace(stage, teacher=at(stage.teacher), init=at(stage.init)) for stage in recipe.stages)
    model = recipe.model.model_copy(
        update={"autoencoder": at(recipe.model.autoencoder), "text": at(recipe.model.text)}
    )
    return replace(recipe, stages=stages, model=model, revision=pins.get(f"{DATA}{data}")), pins


def commit(data: str) -> str:
    """What a data set's id means now."""
    try:
        return hub.commit(data, "dataset")
    except FastdiffError as error:
        raise FastdiffError(f"data set {data!r} is none of {', '.join(DATASETS)}; {error}") from None


def read(path: Path) -> dict[str, str]:
    """The pins in a file, none where there is no file."""
    try:
        pins = read_json(path) if path.exists() else {}
        if isinstance(pins, dict) and all(
            isinstance(at, str) and hub.COMMIT.fullmatch(at) for at in pins.values()
        ):
            return pins
        reason = "expected hub ids, each with 40 hex digits"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise FastdiffError(
        f"{path} is damaged ({reason}): mend it, or remove it to go on with what the hub has today"
    )
