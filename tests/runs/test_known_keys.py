"""The first check of a recipe: it knows the settings that there are, and needs no torch."""

import inspect
import subprocess
import sys
from dataclasses import fields

import pytest
import yaml

from fastdiff.core import plugins
from fastdiff.core.errors import FastdiffError
from fastdiff.runs import known_keys
from fastdiff.runs.known_keys import check_file, check_source, registered, settings
from tests.helpers.commands import RECIPE
from tests.helpers.paths import ROOT

TYPOS = [
    (
        "nosuch: 1",
        "nosuch is unknown, choose from bench, data, model, name, stages, teacher, trackers, train",
    ),
    ("benhc: {}", "benhc is unknown, did you mean bench?"),
    ("train: {stpes: 3}", "train.stpes is unknown, did you mean steps?"),
    ("model: {net: unett}", "model.net: 'unett' is unknown, did you mean unet? Choose from unet, mlp"),
    ("model: {net: {name: mlp, widht: 8}}", "model.net.widht is unknown, did you mean width?"),
    ("model: {net: mlp, schedule: poly}", "model.schedule: 'poly' is unknown, choose from ddpm, cosine, "),
    ("stages: {a: {metod: ect}}", "stages.a.metod is unknown, did you mean method?"),
    ("stages: {a: {method: ectt}}", "stages.a.method: 'ectt' is unknown, did you mean ect?"),
    (
        "stages: {a: {method: {name: ect, halvngs: 3}}}",
        "stages.a.method.halvngs is unknown, did you mean halvings?",
    ),
    (
        "stages: {a: {method: denoising, train: {batc: 3}}}",
        "stages.a.train.batc is unknown, did you mean batch?",
    ),
    ("bench: {baseline: []}", "bench.baseline is unknown, did you mean baselines?"),
]


@pytest.mark.parametrize("change, line", TYPOS, ids=[line.split()[0] for _, line in TYPOS])
def test_a_wrong_key_or_name(change, line):
    source = RECIPE | yaml.safe_load(change)
    with pytest.raises(FastdiffError) as caught:
        check_source(source)
    assert str(caught.value).startswith(line)
    from fastdiff.runs import recipe

    with pytest.raises(FastdiffError) as whole:
        recipe.build(source)
    assert str(whole.value) == str(caught.value)


@pytest.mark.parametrize("value", [None, 3, [], "x"])
def test_other_values_are_left_to_the_whole_check(value):
    for section in ("data", "trackers", "name"):
        check_source(RECIPE | {section: value})
    check_source({"stages": {"a": {"method": None, "train": value}, "b": [value]}})


def test_every_shipped_recipe_passes():
    for path in sorted((ROOT / "recipes").rglob("*.yaml")):
        check_file(path, ())


def test_it_knows_the_settings_that_there_are():
    from fastdiff.core.schedule import SCHEDULES
    from fastdiff.evaluation.config import BenchConfig
    from fastdiff.methods import METHODS
    from fastdiff.networks import NETWORKS, PRESETS
    from fastdiff.runs.model_config import ModelSpec
    from fastdiff.runs.recipe import RecipeSpec
    from fastdiff.runs.stage_config import StageSpec
    from fastdiff.training.config import TrainConfig

    specs = ((known_keys.RECIPE, RecipeSpec), (known_keys.MODEL, ModelSpec), (known_keys.STAGE, StageSpec))
    for place, spec in specs:
        assert settings(place) == set(spec.model_fields)
    for place, kind in ((known_keys.TRAIN, TrainConfig), (known_keys.BENCH, BenchConfig)):
        assert settings(place) == {field.name for field in fields(kind)}
    for place, registry in ((known_keys.METHODS, METHODS), (known_keys.SCHEDULES, SCHEDULES)):
        found = registered(place)
        assert {name: settings(entry) for name, entry in found.items()} == {
            name: {field.name for field in fields(kind)} for name, kind in registry.items()
        }
    networks = registered(known_keys.NETWORKS)
    assert networks.keys() == NETWORKS.keys() and not any(networks[name] for name in PRESETS)
    for name in NETWORKS.keys() - PRESETS.keys():
        assert settings(networks[name]) == set(inspect.signature(NETWORKS[name]).parameters) - {
            "shape",
            "classes",
        }


def test_names_of_plugins_are_left_to_the_whole_check(monkeypatch):
    source = RECIPE | {"model": {"net": {"name": "mine", "depth": 1}}}
    with pytest.raises(FastdiffError, match="'mine' is unknown"):
        check_source(source)
    monkeypatch.setattr(plugins, "_hashes", {ROOT / "own.py": "0"})
    check_source(source)


@pytest.mark.parametrize(
    "words, line",
    [
        (["nosuch.yaml"], "recipe nosuch.yaml: no such file, and no shipped recipe has that name"),
        (["tiny.yaml", "train.stpes=3"], "recipe tiny.yaml: train.stpes is unknown, did you mean steps?"),
        (
            ["tiny.yaml", "stages.teacher.method=ectt"],
            "stages.teacher.method: 'ectt' is unknown, did you mean ect?",
        ),
    ],
    ids=["path", "key", "name"],
)
def test_a_typing_error_is_reported_before_torch_is_imported(words, line, tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    code = """
import sys
from fastdiff.cli import main
try:
    main()
except SystemExit as end:
    print(end.code, "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}){code}", "run", *words],
        text=True,
        capture_output=True,
        cwd=tmp_path,
    )
    assert done.stdout == "2 False\n" and line in done.stderr and done.stderr.count("\n") == 1
