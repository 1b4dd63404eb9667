"""Recipes: plain data read strictly into settings; every error names the key."""

import re
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType
from pydantic import Field

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.schedule import SCHEDULES
from ..core.validation import Named, Strict, call, check, dotted, named, schema, suggestion, validate
from ..data.registry import DATASETS, Readable, open_dataset
from ..evaluation.config import BenchConfig
from ..methods import METHODS, Method
from ..networks import NETWORKS, lora
from ..training import config as train_config
from ..training.config import TrainConfig
from ..training.pairs import Pairs
from .model_config import ModelSpec
from .recipe_file import override, read

NAME = r"\w[\w.-]*"  # of recipes and stages: they become folders
TAKEN = ("samples", "trajectory", "influence", "trackers")  # a run's folders that are no stage


class StageSpec(Strict):
    """A stage as it is written; `expand` makes stages of it. It trains by a method, or it stores a teacher's pairs.

    data: pairs, or in braces data of its own. model: what is other than in the recipe's, where it has other
    data.
    """

    method: Named | None = None
    pairs: dict[str, Any] | None = None
    data: str | dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    teacher: str | None = None
    init: str | None = None
    base: str | None = None
    train: dict[str, Any] = Field(default_factory=dict)


class RecipeSpec(Strict):
    """A recipe as it is written."""

    name: str = Field(pattern=f"^{NAME}$")
    data: Named
    model: ModelSpec
    train: dict[str, Any] = Field(default_factory=dict)
    stages: dict[str, StageSpec] = Field(min_length=1)
    bench: dict[str, Any] = Field(default_factory=dict)
    trackers: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class Stage:
    """One training, or the making of pairs; teacher and init are names of earlier stages or paths of models.

    data: where it does not learn from the recipe's data, the stage or path whose pairs it learns from. base:
    the model whose samples it is to refine, of a cascade. own: data of its own, and model, for which it is
    trained and not judged; but if they are `nothing`, the recipe's data judge it.
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
        """Whether its samples are such as the recipe's data."""
        return self.own is None or imageless(self.own)


@dataclass(frozen=True)
class Recipe:
    """All that a run needs. source: the plain data it was read from, overrides applied; revision: of data on the hub."""

    name: str
    source: dict[str, Any]
    stages: tuple[Stage, ...]
    bench: BenchConfig
    path: str = ""
    model: ModelSpec = field(default=None)
    trackers: tuple[str, ...] = ()
    revision: str | None = None

    def dataset(self) -> Readable:
        """The data, in memory or as a stream."""
        name, options = named(self.source["data"], "data")
        options |= {"revision": self.revision} if self.revision else {}
        return open_dataset(name, **(check(DATASETS, name, options, "data") if name in DATASETS else options))

    def of(self, stage: Stage) -> "Recipe":
        """Itself with a stage's own data and model, where it has such."""
        return (
            self
            if stage.own is None
            else replace(self, source=self.source | {"data": stage.own}, revision=None, model=stage.model)
        )

    def fresh_model(self, dataset: Readable, device: str = "cpu") -> Denoiser:
        """A model with newly drawn weights; on the device meta it has none."""
        return self.model.fresh(dataset, device)


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Read a recipe file; overrides are section.key=value, the value in YAML."""
    source = read(Path(path))
    for assignment in overrides:
        override(source, assignment)
    try:
        return build(source, str(path))
    except FastdiffError as error:
        raise FastdiffError(f"recipe {path}: {error}") from None


def build(source: dict[str, Any], path: str = "") -> Recipe:
    """A recipe of plain data, checked to the last key."""
    check_keys(source)
    spec = validate(RecipeSpec, source, "")
    check_data("data", spec.data)
    check(NETWORKS, *named(spec.model.net, "model.net"), "model.net", skip=("shape", "classes"))
    call(SCHEDULES, *named(spec.model.schedule, "model.schedule"), "model.schedule")
    stages: list[Stage] = []
    for key, stage in spec.stages.items():
        made = expand(key, stage, spec.train, {s.name: s for s in stages})
        stages += with_data(f"stages.{key}", stage, made, stages, source["model"])
        check_images(f"stages.{key}", stages[-1], spec.data)
    bench = BenchConfig(**dict(validate(schema(BenchConfig, "bench"), spec.bench, "bench")))
    names = [stage.name for stage in stages if stage.method and stage.judged]
    for key, chosen in (
        ("teacher", [bench.teacher] if bench.teacher else []),
        ("models", bench.models or ()),
    ):
        if strange := [name for name in chosen if name not in names]:
            raise FastdiffError(f"bench.{key}: {strange[0]!r} is no stage, choose from {', '.join(names)}")
    check_trackers(spec.trackers)
    return Recipe(spec.name, source, tuple(stages), bench, path, spec.model, tuple(spec.trackers))


def check_data(path: str, data: Any) -> None:
    """Refuse options that a data set of that name does not know."""
    name, options = named(data, path)
    if name in DATASETS:
        check(DATASETS, name, options, path)


def imageless(data: Any) -> bool:
    """Whether data are those that have no images."""
    return named(data, "data")[0] == "nothing"


def check_images(path: str, stage: Stage, data: Any) -> None:
    """Refuse a stage without the images that its method needs; data: the recipe's."""
    if stage.method and stage.method.needs_images and not stage.data and imageless(stage.own or data):
        raise FastdiffError(
            f"{path}.data: `nothing` has no images, and method {stage.method_name} as it is set learns from "
            "images: name other data, or a method that does without"
        )


def check_keys(value: Any, path: str = "") -> None:
    """Refuse keys that are no words, such as `yes` and `on`, which YAML takes for true."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        if not (isinstance(key, str) and key):
            raise FastdiffError(f"{dotted(path, repr(key))} is no key: expected a word, in quotes if need be")
        check_keys(inner, dotted(path, key))


def with_data(
    path: str, spec: StageSpec, made: list[Stage], earlier: list[Stage], model: dict[str, Any]
) -> list[Stage]:
    """The stages with what they learn from: pairs, or data of their own, for models that are other than `model`."""
    check_reference(f"{path}.base", spec.base, {stage.name: stage for stage in earlier})
    if spec.model and not isinstance(spec.data, dict):
        raise FastdiffError(
            f"{path}.model: a stage has a model of its own where it has data of its own: set {path}.data"
        )
    if isinstance(spec.data, dict):
        check_data(f"{path}.data", spec.data)
        own = validate(ModelSpec, model | (spec.model or {}), f"{path}.model")
        return [replace(stage, own=spec.data, model=own, base=spec.base) for stage in made]
    pairs = {stage.name for stage in earlier if stage.pairs}
    if spec.data and spec.data not in pairs and not any(c in spec.data for c in "/.~"):
        raise FastdiffError(
            f"{path}.data: {spec.data!r} is no earlier stage of pairs and no path"
            f"{suggestion(spec.data, pairs)}"
        )
    if not spec.data and (
        lacking := next((stage for stage in made if stage.method and stage.method.paired), None)
    ):
        raise FastdiffError(
            f"{path}.data is missing: method {lacking.method_name} learns from stored pairs of noise and "
            "sample, a stage with pairs or its path"
        )
    return [replace(stage, data=spec.data, base=spec.base) for stage in made]


def pairs_of(path: str, key: str, spec: StageSpec, earlier: dict[str, Stage]) -> Stage:
    """A stage that stores pairs of a teacher."""
    if unused := [what for what in ("method", "data", "init", "base", "train") if getattr(spec, what)]:
        raise FastdiffError(
            f"{path}.{unused[0]}: a stage of pairs trains nothing, it takes pairs and teacher alone"
        )
    if not spec.teacher:
        raise FastdiffError(
            f"{path}.teacher is missing: pairs are made by a teacher, a stage or a model's path"
        )
    check_name(path, key, earlier)
    check_reference(f"{path}.teacher", spec.teacher, earlier)
    pairs = call({"pairs": Pairs}, "pairs", spec.pairs, f"{path}.pairs")
    return Stage(key, "pairs", None, TrainConfig(), spec.teacher, None, pairs)


def expand(key: str, spec: StageSpec, defaults: dict[str, Any], earlier: dict[str, Stage]) -> list[Stage]:
    """One stage, or a chain of them where a setting of the method is a list: each is the next one's teacher and init."""
    path = f"stages.{key}"
    if spec.pairs is not None:
        return [pairs_of(path, key, spec, earlier)]
    if spec.method is None:
        raise FastdiffError(f"{path}.method is missing")
    name, options = named(spec.method, f"{path}.method")
    scalars = {f.name for f in fields(METHODS.get(name, Method)) if f.type is int}
    lists = [k for k, v in options.items() if isinstance(v, list) and k in scalars]
    if not lists:
        return [stage_of(path, key, name, options, spec.train, defaults, spec.teacher, spec.init, earlier)]
    varied, values = lists[0], options[lists[0]]
    if len(lists) > 1 or not values:
        raise FastdiffError(
            f"{path}.method: a chain is one list of values, got {lists[-1]} = {options[lists[-1]]}"
        )
    stages, teacher, init = [], spec.teacher, spec.init
    for i, value in enumerate(values):
        train = {k: pick(v, i, len(values), f"{path}.train.{k}") for k, v in spec.train.items()}
        one = options | {varied: value}
        stages.append(stage_of(path, f"{key}-{value}", name, one, train, defaults, teacher, init, earlier))
        teacher, init, earlier = stages[-1].name, None, earlier | {stages[-1].name: stages[-1]}
    return stages


def pick(value: Any, index: int, count: int, path: str) -> Any:
    """The chain's index-th setting where a list gives one for each."""
    if not isinstance(value, list) or path.endswith("betas"):
        return value
    if len(value) != count:
        raise FastdiffError(f"{path}: {len(value)} values for a chain of {count} stages")
    return value[index]


def stage_of(
    path: str,
    key: str,
    name: str,
    options: dict,
    train: dict,
    defaults: dict,
    teacher: str | None,
    init: str | None,
    earlier: dict[str, Stage],
) -> Stage:
    """One stage, its settings checked; earlier: those it may refer to."""
    check_name(path, key, earlier)
    method = call(METHODS, name, options, f"{path}.method")
    validate(schema(TrainConfig, "train"), defaults, "train")
    config = train_config.read(defaults, method.training, train, path=f"{path}.train")
    if method.teaches and not teacher:
        raise FastdiffError(
            f"{path}.teacher is missing: method {name} learns from a teacher, a stage or a model's path"
        )
    if config.lora:
        lora.installed()
        if not (teacher or init):
            raise FastdiffError(
                f"{path}.train.lora: an adapter needs a model to be put on: set teacher or init"
            )
    for role, reference in (("teacher", teacher), ("init", init)):
        check_reference(f"{path}.{role}", reference, earlier)
    return Stage(key, name, method, config, teacher, init)


def check_trackers(names: list[str]) -> None:
    """Refuse what accelerate cannot log with here."""
    known, here = (
        [str(kind) for kind in LoggerType if kind != "all"],
        {str(kind) for kind in get_available_trackers()},
    )
    for name in names:
        if name not in known:
            raise FastdiffError(f"trackers: {name!r} is unknown{suggestion(name, known)}")
        if name not in here:
            raise FastdiffError(f"trackers: {name} is not installed: pip install {name}, or leave it out")


def check_name(path: str, key: str, earlier: dict[str, Stage]) -> None:
    """Refuse a stage's name that is no folder's, or another's."""
    if not re.fullmatch(NAME, key) or key in TAKEN:
        raise FastdiffError(
            f"{path}: {key!r} names a folder, expected letters, digits, _ . and -, not {', '.join(TAKEN)}"
        )
    if key in earlier:
        raise FastdiffError(f"{path}: two stages would be called {key}")


def check_reference(path: str, reference: str | None, earlier: dict[str, Stage]) -> None:
    """Refuse what is neither an earlier stage's model nor a path."""
    models = {name for name, stage in earlier.items() if stage.method}
    if reference and reference not in models and not any(c in reference for c in "/.~"):
        raise FastdiffError(
            f"{path}: {reference!r} is no earlier stage and no path{suggestion(reference, models)}"
        )
