"""Recipes: plain data, strictly checked and turned into settings; every error names the key."""

from dataclasses import dataclass, replace
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
from ..data.registry import DATASETS, Dataset, Readable, open_dataset
from ..evaluation.config import BenchConfig
from ..networks import NETWORKS
from .model_config import ModelSpec
from .recipe_file import override, read_recipe, recipe_path
from .references import outside_teacher, with_teacher
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
    """The sections of a recipe file.

    Args:
        name: name of the run; its folder is checkpoints/NAME.
        data: the data set: its name or path, with options.
        teacher: a folder or hub id that the stages refer to as `teacher`; also the teacher of stages that
            need one and name none.
        model: the network, its schedule and its parameterization; left out where every stage has a teacher or
            init.
        train: settings of the training that all stages share.
        stages: the stages by name, in the order in which they are trained.
        bench: settings of the benchmark after the training; false for none.
        trackers: experiment trackers of accelerate, such as [tensorboard].
    """

    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    data: Named
    teacher: str | None = None
    model: ModelSpec | None = None
    train: dict[str, Any] = Field(default_factory=dict)
    stages: dict[str, StageSpec] = Field(min_length=1)
    bench: Any = Field(default_factory=dict)
    trackers: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class Recipe:
    """A checked recipe: the data, model, stages and benchmark of a run.

    Args:
        name: name of the run, and of its directory in checkpoints/ unless another is given.
        source: the plain data of the recipe file, with all overrides.
        stages: the stages in their order, with chains expanded.
        bench: settings of the benchmark; None for no benchmark.
        path: the recipe file.
        model: settings of a new model; None where every stage has a teacher or init.
        trackers: names of experiment trackers that accelerate logs to.
        revision: commit of the data set on the hub; None for other data.
    """

    name: str
    source: dict[str, Any]
    stages: tuple[Stage, ...]
    bench: BenchConfig | None
    path: str = ""
    model: ModelSpec | None = None
    trackers: tuple[str, ...] = ()
    revision: str | None = None

    def dataset(self, split: str | None = None) -> Readable:
        """Open the data, in memory or as a stream; `split` replaces the name of the split to read."""
        name, options = named(self.source["data"], "data")
        if split is not None:
            options = options | {"split": split}
        if self.revision:
            options = options | {"revision": self.revision}
        if name in DATASETS:
            options = check(DATASETS, name, options, "data")
        return open_dataset(name, **options)

    def held_out(self) -> Dataset | None:
        """Open the examples of the split bench.held_out; None without one.

        Raises:
            FastdiffError: if the data have no such split.
        """
        split = self.bench and self.bench.held_out
        if split is None:
            return None
        name, options = named(self.source["data"], "data")
        if split == options.get("split", "train"):
            raise FastdiffError(f"bench.held_out = {split}: expected another split than that of the data")
        try:
            return self.dataset(split).reference
        except FastdiffError as error:
            raise FastdiffError(f"bench.held_out = {split}: {error}") from None

    def of(self, stage: Stage) -> "Recipe":
        """Return this recipe, with the data and model of a stage if the stage has its own."""
        if stage.own is None:
            return self
        return replace(self, source=self.source | {"data": stage.own}, revision=None, model=stage.model)

    def fresh_model(self, dataset: Readable, device: str = "cpu") -> Denoiser:
        """Return a model for a data set, with random weights; see `ModelSpec.fresh`."""
        return self.model.fresh(dataset, device)


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Load a recipe file.

    Example:
        >>> recipe = fastdiff.recipe.load("recipes/digits.yaml", ["train.lr=3e-4", "bench.n=1000"])
        >>> [stage.name for stage in recipe.stages]
        >>> fastdiff.run(recipe, out="checkpoints/digits-lr")

    Args:
        path: the YAML file, which may include other recipes; or the name of a shipped recipe, such as digits.
        overrides: settings to change, each as "section.key=value" with the value in YAML.

    Returns:
        The checked Recipe; no data are read and no model is loaded yet.

    Raises:
        FastdiffError: for a file that cannot be read, and for a setting that is unknown or out of its range.
            The error names the file and the key.
    """
    path = recipe_path(path)
    source = read_recipe(path)
    for assignment in overrides:
        override(source, assignment)
    try:
        return build(source, str(path))
    except FastdiffError as error:
        raise FastdiffError(f"recipe {path}: {error}") from None


def build(source: dict[str, Any], path: str = "") -> Recipe:
    """Build a recipe from plain data; every key is checked.

    Example:
        >>> stages = {"teacher": {"method": "denoising"}}
        >>> source = {"name": "toy", "data": "toy", "model": {"net": "mlp"}, "stages": stages}
        >>> recipe = fastdiff.recipe.build(source)

    Args:
        source: the contents of a recipe file as dicts, lists, strings and numbers: name, data and stages, and
            where needed teacher, model, train, bench and trackers.
        path: the file that the data were read from, for reference; "" for none.

    Returns:
        The checked Recipe; no data are read and no model is loaded yet.

    Raises:
        FastdiffError: for a setting that is missing, unknown or out of its range; the error names the key.
    """
    check_keys(source)
    source = renamed_recipe(source)
    spec = validate(RecipeSpec, source, "")
    check_dataset_options("data", spec.data)
    if spec.model:
        check(NETWORKS, *named(spec.model.net, "model.net"), "model.net", skip=("shape", "classes"))
        call(SCHEDULES, *named(spec.model.schedule, "model.schedule"), "model.schedule")
    teacher = outside_teacher(spec.teacher, spec.stages)
    stages: Stages = {}
    for key, section in spec.stages.items():
        section = with_teacher(section, teacher)
        made = expand(key, section, spec.train, stages)
        made = with_data(f"stages.{key}", section, made, stages, source.get("model") or {})
        check_model(made, spec.model)
        check_images(f"stages.{key}", made[-1], spec.data)
        stages = stages | {stage.name: stage for stage in made}
    bench = bench_config(spec.bench, stages)
    check_trackers(spec.trackers)
    return Recipe(spec.name, source, tuple(stages.values()), bench, path, spec.model, tuple(spec.trackers))


def check_model(stages: list[Stage], model: ModelSpec | None) -> None:
    """Raise FastdiffError if a stage starts from random weights, and the recipe describes no model for it."""
    fresh = [stage for stage in stages if stage.method and not (stage.teacher or stage.init)]
    if fresh and model is None and fresh[0].model is None:
        name = fresh[0].name
        raise FastdiffError(
            f"model is missing: stage {name} has neither a teacher nor init and starts from random weights; "
            "describe its network"
        )


def check_keys(value: Any, path: str = "") -> None:
    """Raise FastdiffError for keys that are not strings, such as `true` and 3."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        if not (isinstance(key, str) and key):
            raise FastdiffError(
                f"{dotted(path, repr(key))} is not a key: expected a word; quote it if needed"
            )
        check_keys(inner, dotted(path, key))


def bench_config(section: Any, stages: Stages) -> BenchConfig | None:
    """Return the checked settings of the section `bench`; None for `false`, no benchmark."""
    if section is False:
        return None
    if not isinstance(section, dict):
        raise FastdiffError(
            f"bench = {section!r:.80}: expected settings, such as {{n: 512}}, or false for no benchmark"
        )
    bench = BenchConfig(**dict(validate(schema(BenchConfig, "bench"), section, "bench")))
    check_bench_models(bench, stages)
    return bench


def check_bench_models(bench: BenchConfig, stages: Stages) -> None:
    """Raise FastdiffError if the benchmark names a stage that does not exist or is not judged by the data."""
    names = [stage.name for stage in stages.values() if stage.method and stage.judged]
    teachers = [bench.teacher] if bench.teacher else []
    for key, chosen in (("teacher", teachers), ("models", bench.models or ())):
        if strange := [name for name in chosen if name not in names]:
            near = suggestion(strange[0], names)
            raise FastdiffError(f"bench.{key}: {strange[0]!r} is not a stage{near}")


def check_trackers(names: list[str]) -> None:
    """Raise FastdiffError for trackers that accelerate does not support, or that are not installed."""
    known = [str(kind) for kind in LoggerType if kind != "all"]
    installed = {str(kind) for kind in get_available_trackers()}
    for name in names:
        if name not in known:
            raise FastdiffError(f"trackers: {name!r} is unknown{suggestion(name, known)}")
        if name not in installed:
            raise FastdiffError(f"trackers: {name} is not installed: pip install {name}, or leave it out")
