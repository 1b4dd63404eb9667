"""Recipes: YAML read strictly into settings, with key=value overrides; every error names the key."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from typing_extensions import Annotated

from .bench import BenchConfig
from .data import DATASETS, Dataset, open_dataset
from .denoiser import Denoiser, ROWS
from .errors import FastdiffError
from .methods import METHODS, Method
from .networks import NETWORKS
from .schedule import SCHEDULES
from .train import TrainConfig


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class ModelSpec(Strict):
    """What a model is: network, schedule and parameterisation, each a name with options."""

    net: dict[str, Any]
    schedule: str | dict[str, Any] = "cosine"
    predicts: str = "v"
    time_input: str = "timestep"
    sigma_data: float = 1.0
    scale_input: bool = False


class StageSpec(Strict):
    method: str | dict[str, Any]
    teacher: str | None = None
    init: str | None = None
    train: dict[str, Any] = Field(default_factory=dict)


class RecipeSpec(Strict):
    name: str
    data: str | dict[str, Any]
    model: ModelSpec
    train: dict[str, Any] = Field(default_factory=dict)
    stages: dict[str, StageSpec]
    bench: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """One training: teacher and init are names of earlier stages or paths of models."""

    name: str
    method_name: str
    method: Method
    train: TrainConfig
    teacher: str | None
    init: str | None


@dataclass(frozen=True)
class Recipe:
    """All that a run needs. source: the plain data it was read from, overrides applied."""

    name: str
    source: dict[str, Any]
    stages: tuple[Stage, ...]
    bench: BenchConfig
    path: str = ""
    model: ModelSpec = field(default=None)

    def dataset(self) -> Dataset:
        name, options = named(self.source["data"], "data")
        return open_dataset(name, **options)

    def fresh_model(self, dataset: Dataset) -> Denoiser:
        """A model with newly drawn weights."""
        net_name, net_options = named(self.model.net, "model.net")
        net = call(NETWORKS, net_name, net_options, "model.net", dataset.shape, dataset.classes)
        schedule = call(SCHEDULES, *named(self.model.schedule, "model.schedule"), "model.schedule")
        return Denoiser(net, schedule, self.model.predicts, dataset.shape, self.model.time_input, self.model.sigma_data,
                        self.model.scale_input)


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Read a recipe file; overrides are section.key=value, the value in YAML."""
    try:
        source = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        raise FastdiffError(f"recipe {path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FastdiffError(f"recipe {path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise FastdiffError(f"recipe {path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(source, dict):
        raise FastdiffError(f"recipe {path}: expected a mapping with name, data, model, stages, got {type(source).__name__}")
    for assignment in overrides:
        override(source, assignment)
    try:
        return build(source, str(path))
    except FastdiffError as error:
        raise FastdiffError(f"recipe {path}: {error}") from None


def override(source: dict[str, Any], assignment: str) -> None:
    """Apply one section.key=value to plain recipe data."""
    keys, sign, value = assignment.partition("=")
    if not sign or not keys:
        raise FastdiffError(f"override {assignment!r}: expected key=value, for example train.lr=3e-4")
    *parents, last = keys.split(".")
    for parent in parents:
        if isinstance(source.get(parent), str):                          # method: progressive -> {name: progressive}
            source[parent] = {"name": source[parent]}
        source = source.setdefault(parent, {})
        if not isinstance(source, dict):
            raise FastdiffError(f"override {assignment!r}: {parent} holds no settings")
    source[last] = yaml.safe_load(value)


def build(source: dict[str, Any], path: str = "") -> Recipe:
    """A recipe of plain data, checked to the last key."""
    spec = validate(RecipeSpec, source, "")
    if spec.model.predicts not in ROWS:
        raise FastdiffError(f"model.predicts: {spec.model.predicts!r} is unknown, choose from {', '.join(ROWS)}")
    name, options = named(spec.data, "data")
    if name in DATASETS:
        check(DATASETS, name, options, "data")
    check(NETWORKS, *named(spec.model.net, "model.net"), "model.net", skip=("shape", "classes"))
    check(SCHEDULES, *named(spec.model.schedule, "model.schedule"), "model.schedule")
    stages: list[Stage] = []
    for key, stage in spec.stages.items():
        stages += expand(key, stage, spec.train, {s.name for s in stages})
    if not stages:
        raise FastdiffError("stages: expected at least one")
    bench = validate(TypeAdapter(BenchConfig), spec.bench, "bench")
    if bench.teacher is not None and bench.teacher not in {s.name for s in stages}:
        raise FastdiffError(f"bench.teacher: {bench.teacher!r} is no stage, choose from {', '.join(s.name for s in stages)}")
    return Recipe(spec.name, source, tuple(stages), bench, path, spec.model)


def expand(key: str, spec: StageSpec, defaults: dict[str, Any], earlier: set[str]) -> list[Stage]:
    """One stage, or a chain of them where a setting of the method is a list: each is the next one's teacher and init."""
    path = f"stages.{key}"
    name, options = named(spec.method, f"{path}.method")
    if name not in METHODS:
        raise FastdiffError(f"{path}.method: {name!r} is unknown, choose from {', '.join(METHODS)}")
    scalars = {f.name for f in fields(METHODS[name]) if f.type is int}
    lists = {k: v for k, v in options.items() if isinstance(v, list) and k in scalars}
    if not lists:
        return [stage_of(path, key, name, options, spec.train, defaults, spec.teacher, spec.init, earlier)]
    [(varied, values)] = lists.items()
    stages, teacher, init = [], spec.teacher, spec.init
    for i, value in enumerate(values):
        train = {k: pick(v, i, len(values), f"{path}.train.{k}") for k, v in spec.train.items()}
        stages.append(stage_of(path, f"{key}-{value}", name, options | {varied: value}, train, defaults, teacher, init, earlier))
        teacher, init, earlier = stages[-1].name, None, earlier | {stages[-1].name}
    return stages


def pick(value: Any, index: int, count: int, path: str) -> Any:
    """The chain's index-th setting where a list gives one for each."""
    if not isinstance(value, list) or path.endswith("betas"):
        return value
    if len(value) != count:
        raise FastdiffError(f"{path}: {len(value)} values for a chain of {count} stages")
    return value[index]


def stage_of(path: str, key: str, name: str, options: dict, train: dict, defaults: dict, teacher: str | None,
             init: str | None, earlier: set[str]) -> Stage:
    method = call(METHODS, name, options, f"{path}.method")
    validate(TypeAdapter(TrainConfig), defaults, "train")
    config = validate(TypeAdapter(TrainConfig), defaults | method.training | train, f"{path}.train")
    if method.teaches and teacher is None:
        raise FastdiffError(f"{path}.teacher is missing: method {name} learns from a teacher, a stage or a model's path")
    for role, reference in (("teacher", teacher), ("init", init)):
        if reference and reference not in earlier and not any(c in reference for c in "/.~"):
            near = suggestion(reference, earlier)
            raise FastdiffError(f"{path}.{role}: {reference!r} is no earlier stage and no path{near}")
    for what in ("steps", "batch", "accumulate", "log_every", "save_every"):
        if getattr(config, what) < 1:
            raise FastdiffError(f"{path}.train.{what} = {getattr(config, what)}: expected at least 1")
    return Stage(key, name, method, config, teacher, init)


# ---- names with options, and what their functions accept


def named(value: str | dict[str, Any], path: str) -> tuple[str, dict[str, Any]]:
    """`cosine` or {name: cosine, ...} -> its name and its options."""
    if isinstance(value, str):
        return value, {}
    options = dict(value)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise FastdiffError(f"{path}.name is missing")
    return name, options


def check(registry: Mapping[str, Callable], name: str, options: dict[str, Any], path: str,
          skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """The options, converted to the types that registry[name] declares."""
    if name not in registry:
        raise FastdiffError(f"{path}: {name!r} is unknown, choose from {', '.join(registry)}")
    return dict(validate(schema(registry[name], skip), options, path))


def call(registry: Mapping[str, Callable], name: str, options: dict[str, Any], path: str, *first: Any) -> Any:
    parameters = tuple(inspect.signature(registry[name]).parameters) if name in registry else ()
    return registry[name](*first, **check(registry, name, options, path, skip=parameters[: len(first)]))


def schema(kind: Callable, skip: tuple[str, ...] = ()) -> type[BaseModel]:
    """A strict pydantic model of a function's or dataclass's parameters."""
    parameters = {n: p for n, p in inspect.signature(kind).parameters.items() if n not in skip}
    hints = {n: p.annotation for n, p in parameters.items()}
    described = {
        n: (nested(hints[n]), Field(default_factory=lambda d=p.default: d) if p.default is not p.empty else ...)
        for n, p in parameters.items()}
    return create_model(getattr(kind, "__name__", "options"), __base__=Strict, **described)


def nested(annotation: Any) -> Any:
    """A parameter whose type has a registry is itself written as a name with options."""
    registry = getattr(annotation, "registry", None)
    if registry is None:
        return annotation
    read = lambda value: value if not isinstance(value, str | dict) else call(registry, *named(value, "times"), "times")  # noqa: E731
    return Annotated[Any, BeforeValidator(read)]


def validate(kind: Any, data: Any, path: str) -> Any:
    """pydantic's check, its first complaint as one line with the key's path and the nearest known key."""
    try:
        if isinstance(kind, TypeAdapter):
            known = [f.name for f in fields(kind._type)]
            if unknown := [k for k in data if k not in known]:
                raise FastdiffError(f"{dotted(path, unknown[0])} is unknown{suggestion(unknown[0], known)}")
            return kind.validate_python(data)
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = dotted(path, *map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise FastdiffError(f"{where} is unknown{suggestion(str(first['loc'][-1]), known_keys(kind, first['loc']))}") from None
        if first["type"] == "missing":
            raise FastdiffError(f"{where} is missing") from None
        message = first["msg"].removeprefix("Value error, ")
        raise FastdiffError(f"{where}: {message[0].lower() + message[1:]}, got {first['input']!r}") from None


def known_keys(kind: type[BaseModel], loc: tuple) -> list[str]:
    """The keys allowed where an unknown one was found."""
    for key in loc[:-1]:
        annotation = kind.model_fields[key].annotation if key in getattr(kind, "model_fields", {}) else kind
        kind = StageSpec if annotation == dict[str, StageSpec] else annotation
    return list(kind.model_fields)


def dotted(*parts: str) -> str:
    return ".".join(p for p in parts if p)


def suggestion(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {near[0]}?" if near else f", choose from {', '.join(sorted(known))}" if known else ""


def differences(old: Any, new: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Keys whose values differ between two recipes' plain data."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [d for k in dict.fromkeys([*old, *new]) for d in differences(old.get(k), new.get(k), dotted(path, k))]
    return [] if old == new else [(path, old, new)]
