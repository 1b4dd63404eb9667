"""The origin of a stage's model: the settings, data and models that it was built from, and their places."""

import time
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ..core.errors import FastdiffError
from ..core.files import expanded, read_json, write_json
from ..core.former_names import METHOD_KEYS, renamed
from ..core.validation import named
from ..data.registry import DATASETS, Nothing, Readable, hub_id
from ..io import hub
from ..io.fingerprint import fingerprint
from ..io.licences import lineage
from ..io.load import METADATA_FILE, model_folder
from ..training import pairs
from .context import Run
from .stage_config import Stage
from .status import SET_ASIDE

Origin = dict[str, Any]

LATER_KEYS = ("latent settings", "text settings")  # keys that origins of early stages lack


def training_origin(run: Run, stage: Stage, data: Readable) -> Origin:
    """Return the origin of a stage that trains; a finished stage with this origin is not trained again."""
    origin = {
        "method": {"name": stage.method_name, **non_default_settings(stage.method)},
        "data": data.fingerprint,
    }
    for role, reference in (("teacher", stage.teacher), ("init", stage.init or stage.teacher)):
        origin[role] = fingerprint(model_path(reference, run.folder)) if reference else None
    return origin | companion_fingerprints(run, stage)


def pairs_origin(run: Run, stage: Stage) -> Origin:
    """Return the origin of a stage that stores pairs."""
    return {
        "pairs": non_default_settings(stage.pairs),
        "teacher": fingerprint(model_path(stage.teacher, run.folder)),
    }


def non_default_settings(settings: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from their defaults.

    So a setting that is added in a later version does not change the origins of finished stages. Where a
    default has changed, the value that is left out is the first one, `first_defaults`: an origin without the
    setting means that value for ever, and a recipe that spells it out has the same origin.
    """
    changed = {}
    first_defaults = getattr(settings, "first_defaults", {})
    for setting in fields(settings):
        value = getattr(settings, setting.name)
        default = setting.default if setting.default_factory is MISSING else setting.default_factory()
        if value != first_defaults.get(setting.name, default):
            changed[setting.name] = value if isinstance(value, str | int | float | None) else repr(value)
    return changed


def companion_fingerprints(run: Run, stage: Stage) -> dict[str, str]:
    """Return the fingerprints of a new model's autoencoder and text encoder, and of a cascade's base."""
    fingerprints = {}
    if not (stage.init or stage.teacher):
        for name, companion in zip(("latent", "text"), run.recipe.model.companions()):
            if companion:
                fingerprints[name] = companion.fingerprint
                fingerprints[f"{name} settings"] = companion.cache_key
    if stage.base:
        fingerprints["base"] = fingerprint(model_path(stage.base, run.folder))
    return fingerprints


def model_path(reference: str, folder: Path) -> Path | str:
    """Return the place of a model: the folder of a run's stage, or a path or hub id unchanged.

    Args:
        reference: name of a stage, NAME@STEP for a kept state of its training, path or hub id.
        folder: the run's directory.

    Raises:
        FastdiffError: for a stage that is not trained yet.
    """
    if (folder / reference / METADATA_FILE).exists():
        return folder / reference
    if "@" in reference and (folder / reference.rpartition("@")[0]).is_dir():
        return model_folder(folder / reference)
    if not any(mark in reference for mark in "/.~"):  # so it is the name of a stage
        raise FastdiffError(
            f"stage {reference} is not trained yet: run it first, with --only {reference} or without --only"
        )
    return model_folder(reference)


def pairs_path(reference: str, folder: Path) -> Path:
    """Return the folder of stored pairs: that of a run's stage, or a path unchanged."""
    own = folder / reference
    return own if pairs.read_pair_notes(own) else expanded(reference)


def read_origin(path: Path) -> Origin:
    """Read origin.json, with former names of settings replaced; raise ValueError if it is damaged."""
    return with_present_names(read_json(path))


def same_origin(previous: Any, origin: Origin) -> bool:
    """Return whether a finished stage has an origin; keys that were added later may be missing in it."""
    previous = with_present_names(previous)
    if not isinstance(previous, dict):
        return previous == origin
    known = {key: value for key, value in origin.items() if key in previous or key not in LATER_KEYS}
    return previous == known


def with_present_names(origin: Any) -> Any:
    """Return an origin with the former names of its method's settings replaced."""
    if isinstance(origin, dict) and isinstance(origin.get("method"), dict):
        return origin | {"method": renamed(origin["method"], METHOD_KEYS, "method")}
    return origin


def set_aside_others(run: Run, place: Path, origin: Origin) -> None:
    """Rename a stage's folder if its contents have another origin, and write the folder's origin.json."""
    if run.accelerator.is_main_process:
        path = place / "origin.json"
        try:
            previous = read_origin(path) if path.exists() else origin
        except ValueError as error:
            raise FastdiffError(f"{path} is damaged ({error}): delete {place} to train it again") from None
        if not same_origin(previous, origin):
            aside = set_aside(place)
            run.console.print(
                f"{place.name}: trained again, because its teacher, its data or a default of its method has "
                f"changed; the old one is kept as {aside.name}"
            )
        place.mkdir(parents=True, exist_ok=True)
        write_json(path, origin)
    run.accelerator.wait_for_everyone()


def set_aside(place: Path) -> Path:
    """Rename a stage's folder by the present time, and return its new path."""
    aside = place.with_name(f"{place.name}{SET_ASIDE}{time.strftime('%Y%m%d-%H%M%S')}")
    place.replace(aside)
    return aside


def sources(run: Run, stage: Stage) -> dict[str, Any]:
    """Return the names and licences of the models and data behind a stage's model, for fastdiff.json.

    Only the last component of a path is named, because model cards are published.
    """
    weights = {}
    for role, reference in (("teacher", stage.teacher), ("init", stage.init), ("base", stage.base)):
        if reference:
            weights[role] = (public_name(reference), model_path(reference, run.folder))
    if not (stage.teacher or stage.init):
        model = run.recipe.model
        for role, reference in (("autoencoder", model.autoencoder), ("text", model.text)):
            if reference:
                weights[role] = (public_name(reference), reference)
    if isinstance(run.dataset, Nothing):
        return lineage(weights)
    return lineage(weights, data_source(run))


def data_source(run: Run) -> tuple[str, str, str]:
    """Return the name, the place, and the hub id (or "") of a run's data, as `lineage` takes them."""
    name, options = named(run.recipe.source["data"], "data")
    place = str(options.get("path", name))
    if run.recipe.revision:
        options = options | {"revision": run.recipe.revision}
    repository = hub_id(name, options) or ""
    embedded = place == name in DATASETS
    return repository or (name if embedded else Path(place).name), place, repository


def public_name(reference: str) -> str:
    """Return the name of a model for a published card: a hub id, or the last component of a path."""
    return reference if hub.is_id(reference) else Path(reference).name
