"""The kinds of things that `fastdiff list` lists: sections of a recipe, registries, recipes, models.

Everything is read from the code itself: annotations, defaults and docstrings.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import FastdiffError
from ..core.files import read_json
from ..core.settings import Setting, paper, settings, spelled_value, summary
from ..core.shipped import shipped, shipped_recipes
from ..core.validation import suggestion


class Listed(StrEnum):
    """The kinds: sections of a recipe first, then names that they use, then files."""

    recipe = "recipe"
    stage = "stage"
    model = "model"
    data = "data"
    train = "train"
    bench = "bench"
    methods = "methods"
    times = "times"
    distances = "distances"
    gan = "gan"
    networks = "networks"
    schedules = "schedules"
    samplers = "samplers"
    spacings = "spacings"
    guidance = "guidance"
    metrics = "metrics"
    recipes = "recipes"
    models = "models"


TITLES = {
    Listed.recipe: "the sections of a recipe file",
    Listed.stage: "the settings of a stage, in the section `stages`",
    Listed.model: "the settings of a new model, the section `model`",
    Listed.data: "data sets, the section `data`; a path or hub id in place of the name works too",
    Listed.train: "the settings of a training, the section `train`",
    Listed.bench: "the settings of a benchmark, the section `bench`",
    Listed.methods: "methods of a stage",
    Listed.times: "distributions of times, for settings of methods such as `times`",
    Listed.distances: "distances, for the setting `distance` of methods",
    Listed.gan: "the settings of an adversarial term, the setting `gan` of methods",
    Listed.networks: "networks, for `net` in the section `model`",
    Listed.schedules: "noise schedules, for `schedule` in the section `model`",
    Listed.samplers: "samplers, such as ddim[eta=0.5] or heun",
    Listed.spacings: "spacings of the time grid, such as uniform or karras[rho=5]",
    Listed.guidance: "settings of guidance, for --guide",
    Listed.metrics: "metrics, for `metrics` in the section `bench`",
    Listed.recipes: "recipes in ./recipes, or the shipped ones by name",
    Listed.models: "finished stages in ./checkpoints",
}

# Modules and names of the classes of settings, and settings that only Python takes.
SECTIONS: dict[Listed, tuple[str, str, tuple[str, ...]]] = {
    Listed.recipe: ("runs.recipe", "RecipeSpec", ()),
    Listed.stage: ("runs.stage_config", "StageSpec", ()),
    Listed.model: ("runs.model_config", "ModelSpec", ()),
    Listed.train: ("training.config", "TrainConfig", ()),
    Listed.bench: ("evaluation.config", "BenchConfig", ()),
    Listed.gan: ("methods.adversarial", "Adversary", ()),
    Listed.guidance: ("core.guidance", "GuidanceOptions", ("against",)),
}
# Modules and names of the registries, and parameters of their entries that are not settings.
REGISTRIES: dict[Listed, tuple[str, str, tuple[str, ...]]] = {
    Listed.methods: ("methods", "METHODS", ()),
    Listed.times: ("methods.denoising", "DenoisingTimeDistribution", ()),
    Listed.distances: ("methods.distances", "DISTANCES", ()),
    Listed.networks: ("networks", "NETWORKS", ("shape", "classes")),
    Listed.schedules: ("core.schedule", "SCHEDULES", ()),
    Listed.samplers: ("samplers", "SAMPLERS", ("denoise", "x", "times", "randn")),
    Listed.spacings: ("samplers", "SPACINGS", ("schedule", "steps")),
    Listed.data: ("data.registry", "DATASETS", ()),
    Listed.metrics: ("evaluation.metrics", "METRICS", ()),
}


class Entry(NamedTuple):
    """One entry of a kind in full.

    Args:
        name: its name.
        summary: its description in one line.
        facts: further facts, such as its paper and the path of its recipe, by name.
        settings: its settings.
    """

    name: str
    summary: str
    facts: dict[str, str]
    settings: list[Setting]


def kind_of(what: str) -> Listed:
    """Return the kind of a name; raise FastdiffError for an unknown one."""
    if what not in list(Listed):
        raise FastdiffError(f"list {what}: unknown{suggestion(what, list(Listed))}")
    return Listed(what)


def lines(kind: Listed) -> dict[str, str]:
    """Return what there is of a kind: a line for each name."""
    if kind is Listed.recipes:
        return recipes()
    if kind is Listed.models:
        return models()
    if kind in SECTIONS:
        return {one.name: f"({one.default}) {one.meaning}" for one in section(kind).settings}
    known = registry(kind)
    return {name: line(known, name) for name in known}


def entry(kind: Listed, name: str) -> Entry:
    """Return one entry of a kind in full; of a section, the setting of that name and those inside of it.

    Raises:
        FastdiffError: for an unknown name.
    """
    if kind in SECTIONS:
        whole = section(kind)
        some = [one for one in whole.settings if one.name == name or one.name.startswith(f"{name}.")]
        check_known(kind, name, [one.name for one in whole.settings] if not some else [name])
        return whole._replace(name=f"{kind}.{name}", summary="", settings=some)
    if kind not in REGISTRIES:
        known = lines(kind)
        check_known(kind, name, known)
        return Entry(name, known[name], {}, [])
    known = registry(kind)
    check_known(kind, name, known)
    skip = REGISTRIES[kind][2]
    found = [] if kind is Listed.metrics else settings(known[name], skip)
    return Entry(name, line(known, name), facts(kind, name, known[name]), found)


def check_known(kind: Listed, name: str, known: Any) -> None:
    """Raise FastdiffError for a name that a kind does not have."""
    if name not in known:
        raise FastdiffError(f"list {kind} {name}: unknown{suggestion(name, known)}")


def section(kind: Listed) -> Entry:
    """Return the section of a recipe with all its settings."""
    module, name, skip = SECTIONS[kind]
    found = settings(getattr(import_module(f"fastdiff.{module}"), name), skip)
    if kind is Listed.recipe:  # its sections are kinds of their own
        found = [one for one in found if "." not in one.name]
    if kind is Listed.stage:
        pairs = import_module("fastdiff.training.pairs").Pairs
        found += [one._replace(name=f"pairs.{one.name}") for one in settings(pairs)]
    return Entry(kind.value, TITLES[kind], {}, found)


def registry(kind: Listed) -> Mapping[str, Any]:
    """Return the registry of a kind, with a documented object for each name."""
    module, name, _ = REGISTRIES[kind]
    import_module("fastdiff.methods")  # some of its modules register times
    found = getattr(import_module(f"fastdiff.{module}"), name)
    if kind is Listed.metrics:
        nll = import_module("fastdiff.evaluation.likelihood").likelihood
        return {metric: family.of for metric, family in found.items()} | {"nll": nll}
    return getattr(found, "registry", found)


def line(known: Mapping[str, Any], name: str) -> str:
    """Return the description of an entry of a registry; a second name of one refers to the first."""
    one = known[name]
    first = next(other for other in known if known[other] is one)
    if first != name:
        return f"another name of {first}"
    traits = getattr(one, "traits", None)
    if not traits:
        return summary(one)
    kind = "a jump" if traits.jumps else "adaptive" if traits.adaptive else "a solver"
    return f"{kind}, order {traits.order}; NFE per step: {traits.nfe}; noise: {traits.noise}. {summary(one)}"


def facts(kind: Listed, name: str, one: Any) -> dict[str, str]:
    """Return the paper of an entry; of a method, also what it needs and its recipe."""
    found = {"paper": paper(one)}
    if kind is Listed.methods:
        with suppress(TypeError):  # a method that has no defaults for its settings
            method = one()
            needs = [what for what in ("teacher", "pairs", "images") if getattr(method, f"needs_{what}")]
            found["needs"] = ", ".join(needs[:1] if method.needs_pairs else needs) or "labels only"
            found["defaults of train"] = spelled_value(dict(method.training))[1:-1]
        found["recipe"] = recipe_of(name)
    return {what: text for what, text in found.items() if text}


# ---- recipes and models ---------------------------------------------------------------------------------


def recipe_of(method: str) -> str:
    """Return the path of a method's own recipe, else that of the first recipe that uses it; "" for none."""
    folder = shipped("recipes") or Path("recipes")
    used = re.compile(rf"method: (?:\{{name: )?{re.escape(method)}\b")
    own = folder / "methods" / f"{method}.yaml"
    others = (path for path in sorted(folder.glob("**/*.yaml")) if used.search(path.read_text("utf-8")))
    path = own if own.is_file() else next(others, None)
    return f"recipes/{path.relative_to(folder)}" if path else ""


def recipes() -> dict[str, str]:
    """Return the recipes in ./recipes by path, or else the shipped ones by name, each with a sentence.

    It is the first sentence of the recipe's first comment.
    """
    paths = sorted(Path("recipes").glob("**/*.yaml"), key=lambda path: (len(path.parts), path))
    found = {str(path): path for path in paths} or shipped_recipes()
    return {name: first_sentence(path.read_text(encoding="utf-8")) for name, path in found.items()}


def first_sentence(recipe: str) -> str:
    """Return the first sentence of a recipe's first comment, which ends before an indented line."""
    comment = takewhile(re.compile("# ?[^ ]").match, recipe.splitlines())
    return re.split(r"(?<=\.) (?=[A-Za-z])", " ".join(one.lstrip("# ") for one in comment))[0]


def models() -> dict[str, str]:
    """Return the finished stages of the runs in ./checkpoints, each with its method."""
    methods = {}
    for path in sorted(Path("checkpoints").glob("*/*/fastdiff.json")):
        try:
            methods[str(path.parent)] = str(read_json(path).get("method"))
        except (ValueError, AttributeError):
            methods[str(path.parent)] = "damaged"
    return methods
