"""Recipes: plain data read strictly into settings; every error names the key."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType
from pydantic import Field

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.former_names import renamed_recipe
from ..core.schedule import SCHEDULES
from ..core.validation import Named, Strict, call, check, dotted, named, schema, suggestion, validate
from ..data.registry import DATASETS, Readable, open_dataset
from ..evaluation.config import BenchConfig
from ..networks import NETWORKS
from .model_config import ModelSpec
from .recipe_file import override, read_recipe
from .stage_config import (
    NAME_PATTERN,
    Stage,
    Stages,
    StageSpec,
    check_dataset_options,
    check_images,
    expand,
    with_data,
)


class RecipeSpec(Strict):
    """A recipe as it is written."""

    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    data: Named
    model: ModelSpec
    train: dict[str, Any] = Field(default_factory=dict)
    stages: dict[str, StageSpec] = Field(min_length=1)
    bench: dict[str, Any] = Field(default_factory=dict)
    trackers: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class Recipe:
    """All that a run needs.

    Args:
        name: the name of the run, and of its directory unless another is given.
        source: the plain data that it was read from, overrides applied.
        stages: the stages in their order, chains expanded.
        bench: the settings of the benchmark.
        path: the file that it was read from.
        model: the settings of a new model.
        trackers: names of experiment trackers that accelerate logs with.
        revision: the commit of a data set on the hub.
    """

    name: str
    source: dict[str, Any]
    stages: tuple[Stage, ...]
    bench: BenchConfig
    path: str = ""
    model: ModelSpec = field(default=None)
    trackers: tuple[str, ...] = ()
    revision: str | None = None

    def dataset(self) -> Readable:
        """Open the data, in memory or as a stream."""
        name, options = named(self.source["data"], "data")
        if self.revision:
            options = options | {"revision": self.revision}
        if name in DATASETS:
            options = check(DATASETS, name, options, "data")
        return open_dataset(name, **options)

    def of(self, stage: Stage) -> "Recipe":
        """Return this recipe with a stage's own data and model, if it has such."""
        if stage.own is None:
            return self
        return replace(self, source=self.source | {"data": stage.own}, revision=None, model=stage.model)

    def fresh_model(self, dataset: Readable, device: str = "cpu") -> Denoiser:
        """Return a model for the data with newly drawn weights; on the device meta it has none."""
        return self.model.fresh(dataset, device)


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Read a recipe file.

    Args:
        path: the file.
        overrides: settings to change, each section.key=value, with the value in YAML.

    Raises:
        FastdiffError: for a file that cannot be read, and for a setting that is unknown or out of its range.
    """
    source = read_recipe(Path(path))
    for assignment in overrides:
        override(source, assignment)
    try:
        return build(source, str(path))
    except FastdiffError as error:
        raise FastdiffError(f"recipe {path}: {error}") from None


def build(source: dict[str, Any], path: str = "") -> Recipe:
    """Make a recipe of plain data, checked to the last key.

    Args:
        source: the data, as `recipes/*.yaml` have them.
        path: the file that they were read from.

    Raises:
        FastdiffError: for a setting that is unknown or out of its range.
    """
    check_keys(source)
    source = renamed_recipe(source)
    spec = validate(RecipeSpec, source, "")
    check_dataset_options("data", spec.data)
    check(NETWORKS, *named(spec.model.net, "model.net"), "model.net", skip=("shape", "classes"))
    call(SCHEDULES, *named(spec.model.schedule, "model.schedule"), "model.schedule")
    stages: Stages = {}
    for key, section in spec.stages.items():
        made = expand(key, section, spec.train, stages)
        made = with_data(f"stages.{key}", section, made, stages, source["model"])
        check_images(f"stages.{key}", made[-1], spec.data)
        stages = stages | {stage.name: stage for stage in made}
    bench = BenchConfig(**dict(validate(schema(BenchConfig, "bench"), spec.bench, "bench")))
    check_bench_models(bench, stages)
    check_trackers(spec.trackers)
    return Recipe(spec.name, source, tuple(stages.values()), bench, path, spec.model, tuple(spec.trackers))


def check_keys(value: Any, path: str = "") -> None:
    """Refuse keys that are no words, such as `yes` and `on`, which YAML takes for true."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        if not (isinstance(key, str) and key):
            raise FastdiffError(f"{dotted(path, repr(key))} is no key: expected a word, in quotes if need be")
        check_keys(inner, dotted(path, key))


def check_bench_models(bench: BenchConfig, stages: Stages) -> None:
    """Refuse a benchmark of stages that the recipe does not have, or that its data do not judge."""
    names = [stage.name for stage in stages.values() if stage.method and stage.judged]
    teachers = [bench.teacher] if bench.teacher else []
    for key, chosen in (("teacher", teachers), ("models", bench.models or ())):
        if strange := [name for name in chosen if name not in names]:
            raise FastdiffError(f"bench.{key}: {strange[0]!r} is no stage, choose from {', '.join(names)}")


def check_trackers(names: list[str]) -> None:
    """Refuse trackers that accelerate does not know, or that are not installed."""
    known = [str(kind) for kind in LoggerType if kind != "all"]
    installed = {str(kind) for kind in get_available_trackers()}
    for name in names:
        if name not in known:
            raise FastdiffError(f"trackers: {name!r} is unknown{suggestion(name, known)}")
        if name not in installed:
            raise FastdiffError(f"trackers: {name} is not installed: pip install {name}, or leave it out")
