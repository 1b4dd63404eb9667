"""References of a recipe: stages first, then folders, paths and ids on the hub."""

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.runs.recipe import build
from fastdiff.runs.references import is_path, resolved
from tests.helpers.recipes import changed


def test_a_reference_with_a_mark_of_paths_is_one():
    found = {name: is_path(name) for name in ("teacher", "user/model", "./teacher", "~", "v1.5")}
    assert found == {"teacher": False, "user/model": True, "./teacher": True, "~": True, "v1.5": True}


def test_a_folder_is_taken_by_its_name_unless_a_stage_has_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("sd", "teacher"):
        (tmp_path / name).mkdir()
    stages = build(changed("stages.progressive.teacher=sd", "stages.consistency.init=teacher")).stages
    assert {stage.name: (stage.teacher, stage.init) for stage in stages} | {
        "progressive-4": ("./sd", None),
        "consistency": (None, "teacher"),
    } == {stage.name: (stage.teacher, stage.init) for stage in stages}
    assert resolved("data", "sd", {"pairs"}) == "./sd" and resolved("data", None, {}) is None


def test_other_names_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FastdiffError, match="stages.x.init: 'pairz' is neither a stage of pairs nor a path"):
        resolved("stages.x.init", "pairz", {"pairs"}, "a stage of pairs")
