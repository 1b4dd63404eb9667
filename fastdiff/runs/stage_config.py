"""The stages of a recipe: read, checked, and expanded where a list of values makes a chain."""

import re
from dataclasses import dataclass, fields, replace
from typing import Any, get_origin, get_type_hints

from pydantic import Field

from ..core.errors import FastdiffError
from ..core.registry import known_name
from ..core.validation import Named, Strict, call, check, named, validate
from ..data.registry import DATASETS
from ..methods import METHODS, Method
from ..networks import lora
from ..training import config as train_config
from ..training.config import TrainConfig
from ..training.pairs import Pairs
from .model_config import ModelSpec
from .references import resolved
from .status import SET_ASIDE

NAME_PATTERN = r"\w[\w.-]*"  # names of recipes and stages, which are names of folders
RESERVED_FOLDERS = ("samples", "trajectory", "influence", "trackers")  # folders of a run that are not stages
# Ends of the names of a run's own files.
RESERVED_SUFFIXES = (".yaml", ".json", ".jsonl", ".broken", ".html", ".md", ".png", ".svg", ".txt", ".new")
MAX_NAME_BYTES = 200  # file systems take 255, and names of files that are being written are longer
# Settings of a training for which a list is a single value, not one value per stage of a chain.
TUPLE_SETTINGS = {name for name, hint in get_type_hints(TrainConfig).items() if get_origin(hint) is tuple}


class StageSpec(Strict):
    """The section of a stage in a recipe file: it trains with a method, or it stores a teacher's pairs.

    Args:
        method: the method and its settings; a list of values for an integer setting makes a chain of stages.
        pairs: settings of the pairs to store, in the place of a method.
        data: a stage of pairs, or the path of stored pairs; or a data set for this stage only, as
            {name: ..., and its options}.
        model: settings of the model that differ from the recipe's; only for a stage with its own data set.
        teacher: the teacher: an earlier stage, a path or a hub id.
        init: the model that the student is initialized from: an earlier stage, a path or a hub id; the
            teacher if not given.
        base: in a cascade, the model whose samples this one refines: an earlier stage, a path or a hub id.
        train: settings of the training that differ from the recipe's.
    """

    method: Named | None = None
    pairs: dict[str, Any] | None = None
    data: str | dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    teacher: str | None = None
    init: str | None = None
    base: str | None = None
    train: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A checked stage of a run: one training, or one set of stored pairs.

    Args:
        name: name of its folder in the run's directory.
        method_name: name of the method, a key of METHODS; "pairs" for a stage of pairs.
        method: the method; None for a stage of pairs.
        train: settings of the training.
        teacher: the teacher: an earlier stage, a path or a hub id; None without a teacher.
        init: the model that the student is initialized from; the teacher if None.
        pairs: settings of the pairs to store; None for a stage that trains.
        data: the stage or path of the pairs that it is trained on; None if it is trained on data.
        base: in a cascade, the model whose samples this one refines; None otherwise.
        own: a data set for this stage only; the stage is then not judged, except that the recipe's data judge
            a stage with `nothing`. None for the recipe's data.
        model: settings of the model for that data set.
    """

    name: str
    method_name: str
    method: Method | None
    train: TrainConfig
    teacher: str | None
    init: str | None
    pairs: Pairs | None = None
    data: str | None = None
    base: str | None = None
    own: dict[str, Any] | None = None
    model: ModelSpec | None = None

    @property
    def judged(self) -> bool:
        """Whether the recipe's data judge the stage's samples."""
        return self.own is None or has_no_images(self.own)


Stages = dict[str, Stage]  # name -> stage


def expand(key: str, spec: StageSpec, defaults: dict[str, Any], earlier: Stages) -> list[Stage]:
    """Return the stages of a section: one, or a chain if a setting of its method is a list of values.

    Each stage of a chain is the teacher of the next one, and the model that the next one starts from.

    Args:
        key: name of the section: the name of the stage, or the prefix of the names in a chain.
        spec: the section.
        defaults: the recipe's settings of training.
        earlier: the stages that it may refer to.

    Raises:
        FastdiffError: for a setting that is missing, unknown or out of its range.
    """
    path = f"stages.{key}"
    if spec.pairs is not None:
        return [pairs_stage(path, key, spec, earlier)]
    if spec.method is None:
        raise FastdiffError(f"{path}.method is missing")
    name, options = method_of(spec, path)
    chainable = whole_number_settings(METHODS.get(name, Method))
    lists = [
        setting for setting, value in options.items() if isinstance(value, list) and setting in chainable
    ]
    if not lists:
        return [training_stage(path, key, spec, defaults, earlier)]
    varied = lists[0]
    values = options[varied]
    if len(lists) > 1 or not values:
        raise FastdiffError(
            f"{path}.method.{lists[-1]} = {options[lists[-1]]}: expected one list of values for a chain"
        )
    stages: list[Stage] = []
    for i, value in enumerate(values):
        changes: dict[str, Any] = {"method": spec.method | {varied: value}}
        changes["train"] = {
            setting: value_of(every, i, len(values), setting, f"{path}.train.{setting}")
            for setting, every in spec.train.items()
        }
        if stages:
            changes |= {"teacher": stages[-1].name, "init": None}
        link = spec.model_copy(update=changes)
        made = {stage.name: stage for stage in stages}
        stages.append(training_stage(path, f"{key}-{value}", link, defaults, earlier | made))
    return stages


def method_of(spec: StageSpec, path: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a section's method as it is registered, and the method's settings."""
    name, options = named(spec.method, f"{path}.method")
    return known_name(name, METHODS), options


def whole_number_settings(method: type[Method]) -> set[str]:
    """Return the names of a method's integer settings, for which a list of values makes a chain.

    For a setting that is a tuple, a list is a single value.
    """
    hints = get_type_hints(method)  # the types without the metadata of Annotated
    return {setting.name for setting in fields(method) if hints[setting.name] is int}


def value_of(value: Any, index: int, count: int, setting: str, path: str) -> Any:
    """Return the value of a training setting for one stage of a chain; a list has one value per stage.

    Args:
        value: the setting of the whole chain.
        index: index of the stage.
        count: number of stages.
        setting: name of the setting.
        path: path of the setting, for errors.
    """
    if not isinstance(value, list) or setting in TUPLE_SETTINGS:
        return value
    if len(value) != count:
        raise FastdiffError(f"{path}: {len(value)} values, expected {count}, one for each stage of the chain")
    return value[index]


def training_stage(path: str, key: str, spec: StageSpec, defaults: dict[str, Any], earlier: Stages) -> Stage:
    """Return one stage that trains, after checking its settings; see `expand` for the arguments."""
    check_name(path, key, earlier)
    name, options = method_of(spec, path)
    method = call(METHODS, name, options, f"{path}.method")
    train_config.check_types(defaults, "train")
    config = train_config.merge_train_config(defaults, method.training, spec.train, path=f"{path}.train")
    if method.needs_teacher and not spec.teacher:
        raise FastdiffError(
            f"{path}.teacher is missing: method {name} needs a teacher; name a stage or a model's path"
        )
    if config.lora:
        lora.installed()
        if not (spec.teacher or spec.init):
            raise FastdiffError(f"{path}.train.lora: an adapter needs a trained model; set teacher or init")
    models = trained(earlier)
    teacher = resolved(f"{path}.teacher", spec.teacher, models)
    init = resolved(f"{path}.init", spec.init, models)
    return Stage(key, name, method, config, teacher, init)


def pairs_stage(path: str, key: str, spec: StageSpec, earlier: Stages) -> Stage:
    """Return one stage that stores a teacher's pairs, after checking its settings."""
    if unused := [what for what in ("method", "data", "init", "base", "train") if getattr(spec, what)]:
        raise FastdiffError(
            f"{path}.{unused[0]}: a stage of pairs takes only pairs and teacher; leave {unused[0]} out"
        )
    if not spec.teacher:
        raise FastdiffError(
            f"{path}.teacher is missing: pairs are generated by a teacher; name a stage or a model's path"
        )
    check_name(path, key, earlier)
    teacher = resolved(f"{path}.teacher", spec.teacher, trained(earlier))
    pairs = call({"pairs": Pairs}, "pairs", spec.pairs, f"{path}.pairs")
    return Stage(key, "pairs", None, TrainConfig(), teacher, None, pairs)


def with_data(
    path: str, spec: StageSpec, made: list[Stage], earlier: Stages, model: dict[str, Any]
) -> list[Stage]:
    """Return the stages of a section with their training data: stored pairs, or a data set of their own.

    Args:
        path: path of the section, for errors.
        spec: the section.
        made: its stages.
        earlier: the stages that it may refer to.
        model: the recipe's settings of the model, which the section's own settings override.
    """
    base = resolved(f"{path}.base", spec.base, trained(earlier))
    if spec.model and not isinstance(spec.data, dict):
        raise FastdiffError(
            f"{path}.model: only a stage with its own data set has its own model; set {path}.data"
        )
    if isinstance(spec.data, dict):
        check_dataset_options(f"{path}.data", spec.data)
        settings = model | (spec.model or {})
        own = validate(ModelSpec, settings, f"{path}.model") if settings else None
        return [replace(stage, own=spec.data, model=own, base=base) for stage in made]
    pairs = {stage.name for stage in earlier.values() if stage.pairs}
    data = resolved(f"{path}.data", spec.data, pairs, "an earlier stage of pairs")
    lacking = [stage for stage in made if stage.method and stage.method.needs_pairs and not spec.data]
    if lacking:
        raise FastdiffError(
            f"{path}.data is missing: method {lacking[0].method_name} needs stored pairs of noise and "
            "sample; name a stage of pairs or the path of one"
        )
    return [replace(stage, data=data, base=base) for stage in made]


def trained(earlier: Stages) -> set[str]:
    """Return the names of the earlier stages that are models, not stored pairs."""
    return {name for name, stage in earlier.items() if stage.method}


def has_no_images(data: Any) -> bool:
    """Return whether the data section of a recipe or stage names the data set `nothing`."""
    return named(data, "data")[0] == "nothing"


def check_dataset_options(path: str, data: Any) -> None:
    """Raise FastdiffError for unknown options of a data set in DATASETS; a path's are checked on opening."""
    name, options = named(data, path)
    if name in DATASETS:
        check(DATASETS, name, options, path)


def check_images(path: str, stage: Stage, data: Any) -> None:
    """Raise FastdiffError if a stage has no images and its method needs them.

    Args:
        path: path of the stage, for errors.
        stage: the stage.
        data: the data section of the recipe.
    """
    if stage.method and stage.method.needs_images and not stage.data and has_no_images(stage.own or data):
        raise FastdiffError(
            f"{path}.data: `nothing` has no images, and method {stage.method_name} with these settings needs "
            "images; name other data, or a method that needs none"
        )


def check_name(path: str, key: str, earlier: Stages) -> None:
    """Raise FastdiffError for a stage's name that cannot be its folder's, or that another stage has."""
    if not re.fullmatch(NAME_PATTERN, key) or key.lower() in RESERVED_FOLDERS:
        raise FastdiffError(
            f"{path}: {key!r} cannot be a folder's name, expected letters, digits, _ . and -, and none of "
            f"{', '.join(RESERVED_FOLDERS)}"
        )
    if key.lower().endswith((*RESERVED_SUFFIXES, ".")) or SET_ASIDE in key:
        raise FastdiffError(
            f"{path}: {key!r} cannot be a folder's name, because files of the run have such names: expected "
            f"one that does not end in . or {', '.join(RESERVED_SUFFIXES)}, without {SET_ASIDE}"
        )
    if len(key.encode()) > MAX_NAME_BYTES:
        raise FastdiffError(
            f"{path:.80}: a name of {len(key.encode())} bytes: expected at most {MAX_NAME_BYTES}"
        )
    if same := [name for name in earlier if name.lower() == key.lower()]:
        also = "" if same[0] == key else f" (and {same[0]}, the same folder on some systems)"
        raise FastdiffError(f"{path}: two stages would be called {key}{also}")
