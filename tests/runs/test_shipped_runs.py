"""Shipped runs stay finished: no stage trains and no row is measured again, and keys are those of today."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fastdiff.core.files import identity
from fastdiff.evaluation import report
from fastdiff.evaluation.rows import read_rows
from fastdiff.evaluation.summary import REAL, models_only
from fastdiff.io.fingerprint import fingerprint
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from fastdiff.runs.origin import non_default_settings, read_origin
from tests.helpers.paths import ROOT

SHIPPED = ROOT / "checkpoints"
# Recipes whose runs are shipped with all stages and rows; digits-labels is shipped without rows.
FINISHED = {"digits-full": "digits", "digits-latent": "digits-latent"}
TRAINED = ("fastdiff.json", "origin.json", "log.jsonl", "*.safetensors", "bench.jsonl")
# What a row's key is made of.
KEY = (
    "model",
    "sampler",
    "spacing",
    "steps",
    "guidance",
    "clip",
    "seed",
    "n",
    "extractor",
    "reference",
    "weights",
)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the recipes, and with copies of the shipped runs without their pictures."""
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    pictures = shutil.ignore_patterns("*.png", "*.svg", "report.*", "influence")
    shutil.copytree(SHIPPED, tmp_path / "checkpoints", ignore=pictures)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def results(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Every file that a training or a measurement writes: the time of its last change, and its bytes."""
    paths = {path for pattern in TRAINED for path in folder.rglob(pattern)}
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


@pytest.mark.parametrize("name", FINISHED)
def test_a_shipped_run_is_done(
    name: str, clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder = clone / "checkpoints" / FINISHED[name]
    before = results(folder)
    monkeypatch.setattr(report, "write", lambda *_: [])  # the plots take longer than all else
    stages.run(recipe.load(f"recipes/{name}.yaml"))
    assert "done. Open" in capsys.readouterr().out
    assert results(folder) == before and before
    assert not list(folder.glob("*.before-*"))


def test_the_shipped_teacher_of_the_methods_is_trained(clone: Path) -> None:
    folder = clone / "checkpoints/digits-labels"
    before = results(folder)
    stages.run(recipe.load("recipes/digits-labels.yaml"), only="teacher")
    assert results(folder) == before and before and not list(folder.glob("*.before-*"))


def shipped_stages() -> Iterator[tuple[str, str]]:
    """Every stage of a recipe that is shipped: the recipe's name, and the stage's."""
    runs = {yaml.safe_load(path.read_text())["name"]: path.stem for path in (ROOT / "recipes").glob("*.yaml")}
    for path in sorted(SHIPPED.glob("*/*/fastdiff.json")):
        yield runs[path.parts[-3]], path.parts[-2]


@pytest.mark.parametrize(("name", "stage"), shipped_stages())
def test_the_origin_of_a_shipped_stage_is_that_of_its_recipe(
    name: str, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings that identify it, and the models that it was made from, as far as these are shipped."""
    monkeypatch.chdir(ROOT)
    made = recipe.load(f"recipes/{name}.yaml")
    [of] = [one for one in made.stages if one.name == stage]
    folder = SHIPPED / made.name
    origin = read_origin(folder / stage / "origin.json")
    files = (folder / stage / name for name in ("fastdiff.json", "origin.json"))
    metadata, written = (json.loads(file.read_text()) for file in files)
    assert metadata["origin"] == written
    assert origin["method"] == {"name": of.method_name, **non_default_settings(of.method)}
    for role, reference in (("teacher", of.teacher), ("init", of.init or of.teacher)):
        places = [place for place in (folder / str(reference), ROOT / str(reference)) if place.is_dir()]
        if reference is None:
            assert origin[role] is None
        elif places:
            assert origin[role] == fingerprint(places[0])


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*/bench.jsonl")), ids=lambda path: path.parts[-2])
def test_the_keys_of_shipped_rows_are_those_of_today(path: Path) -> None:
    rows = read_rows(path)
    assert rows
    weights = {row["model"]: fingerprint(path.parent / row["model"]) for row in models_only(rows)}
    for row in rows:
        assert row["key"] == identity(**{name: row[name] for name in KEY})
        if row["model"] != REAL and (path.parent / row["model"] / "fastdiff.json").exists():
            assert row["weights"] == weights[row["model"]]
