"""Stages of a recipe: chains of a list of values, references among them, and names of folders."""

import copy
from dataclasses import make_dataclass
from typing import Annotated

import pytest
from pydantic import Field

from fastdiff.methods import METHODS
from fastdiff.runs.recipe import build
from fastdiff.runs.stage_config import has_no_images, whole_number_settings
from tests.helpers.recipes import PLAIN, changed, complaint


def test_a_list_is_a_chain_with_the_teacher_handed_down():
    source = changed(
        "stages.progressive.init=consistency", "stages.progressive.train={steps: [5, 6], betas: [0.5, 0.9]}"
    )
    source["stages"] = {k: source["stages"][k] for k in ("teacher", "consistency", "progressive")}
    *_, first, second = build(source).stages
    assert (first.teacher, first.init, first.method.steps, first.train.steps) == (
        "teacher",
        "consistency",
        4,
        5,
    )
    assert (second.teacher, second.init, second.method.steps, second.train.steps) == (
        "progressive-4",
        None,
        2,
        6,
    )
    assert first.train.betas == second.train.betas == (0.5, 0.9)


def test_a_chain_of_one_still_carries_its_value():
    assert build(changed("stages.progressive.method.steps=[4]")).stages[1].name == "progressive-4"
    assert build(changed("stages.progressive.method.steps=4")).stages[1].name == "progressive"


def annotated_method(monkeypatch: pytest.MonkeyPatch, annotation: object, default: object) -> None:
    """Register progressive distillation with one more setting, `marks`, of some annotation."""
    base = METHODS["progressive"]
    method = make_dataclass("Marked", [("marks", annotation, default)], bases=(base,))
    monkeypatch.setitem(METHODS, "progressive", method)


@pytest.mark.parametrize(
    "annotation",
    [int, "int", Annotated[int, Field(ge=1)], Annotated[Annotated[int, Field(ge=1)], "twice"]],
    ids=["int", "text", "bounds", "more"],
)
def test_a_list_for_a_whole_number_is_a_chain_however_it_is_annotated(annotation, monkeypatch):
    annotated_method(monkeypatch, annotation, 1)
    stages = build(changed("stages.progressive.method={name: progressive, marks: [3, 2]}")).stages
    assert [stage.name for stage in stages[1:3]] == ["progressive-3", "progressive-2"]
    assert [stage.method.marks for stage in stages[1:3]] == [3, 2]
    assert stages[2].teacher == "progressive-3"


@pytest.mark.parametrize(
    "annotation",
    [
        tuple[int, ...],
        Annotated[tuple[int, ...], "marked"],
        tuple[Annotated[int, Field(ge=1)], ...],
        tuple[int, int] | None,
    ],
    ids=["ints", "marked", "bounds", "or none"],
)
def test_a_list_for_several_numbers_is_their_value(annotation, monkeypatch):
    annotated_method(monkeypatch, annotation, (1, 1))
    stages = build(changed("stages.progressive.method={name: progressive, marks: [3, 2], steps: 4}")).stages
    assert (stages[1].name, stages[1].method.marks) == ("progressive", (3, 2))
    chain = build(
        changed("stages.progressive.method={name: progressive, marks: [3, 2], steps: [4, 2]}")
    ).stages
    assert [stage.name for stage in chain[1:3]] == ["progressive-4", "progressive-2"]
    assert [stage.method.marks for stage in chain[1:3]] == [(3, 2), (3, 2)]


@pytest.mark.parametrize(
    "assignment, message",
    [
        (
            "stages.progressive.teacher=consistency",
            "stages.progressive.teacher: 'consistency' is neither an earlier stage nor a path",
        ),
        ("stages.progressive.teacher=techer", "neither an earlier stage nor a path, did you mean teacher?"),
        (
            "stages.consistency.init=progressive-8",
            "stages.consistency.init: 'progressive-8' is neither an earlier stage nor a path",
        ),
        (
            "stages.teacher.init=teacher",
            "stages.teacher.init: 'teacher' is neither an earlier stage nor a path",
        ),
        (
            "stages.progressive.teacher=null",
            "stages.progressive.teacher is missing: method progressive needs a teacher",
        ),
        ("stages.progressive.teacher=''", "stages.progressive.teacher is missing"),
        (
            "stages.progressive.method.steps=[]",
            "stages.progressive.method.steps = []: expected one list of values for a chain",
        ),
        (
            "stages.consistency.method={name: ect, halvings: [1, 2], start: [0.5]}",
            "stages.consistency.method.start: ",
        ),
        ("stages.progressive.method.steps=[4, four]", "stages.progressive.method.steps: "),
        (
            "stages.progressive.method.steps=[4, 4]",
            "stages.progressive: two stages would be called progressive-4",
        ),
        (
            "stages.progressive-4.method=denoising",
            "stages.progressive-4: two stages would be called progressive-4",
        ),
        (
            "stages.progressive.train.steps=[1, 2, 3]",
            "stages.progressive.train.steps: 3 values, expected 2, one for each stage of the chain",
        ),
        ("stages.teacher.train.steps=[1, 2]", "stages.teacher.train.steps: "),
    ],
)
def test_stages_that_do_not_fit_together(assignment, message):
    assert message in complaint(changed(assignment))


@pytest.mark.parametrize(
    "name",
    ["..", ".", "a/b", "/tmp/x", "samples", "influence", ".hidden", "Samples", "a.", "x.before-20260101"]
    + [
        "recipe.yaml",
        "bench.jsonl",
        "report.html",
        "REPORT.md",
        "grid.png",
        "status.json",
        "pins.json",
        "a.svg",
    ],
)
def test_a_stage_is_named_like_a_folder(name):
    source = copy.deepcopy(PLAIN)
    source["stages"] = {name: source["stages"]["teacher"]}
    assert "cannot be a folder's name" in complaint(source)


def test_names_of_stages_are_short_and_differ_in_more_than_case():
    source = copy.deepcopy(PLAIN)
    source["stages"] = {"v1.5": source["stages"]["teacher"], "V1.5": source["stages"]["teacher"]}
    assert "two stages would be called V1.5 (and v1.5, the same folder on some systems)" in complaint(source)
    source["stages"] = {"ä" * 101: source["stages"]["v1.5"]}
    assert "a name of 202 bytes: expected at most 200" in complaint(source)


@pytest.mark.parametrize("path", ["runs/a/teacher", "google/ddpm", "~/model", "./model"])
def test_paths_and_hub_ids_are_left_to_loading(path):
    assert build(changed(f"stages.progressive.teacher={path}")).stages[1].teacher == path


def test_only_single_whole_numbers_make_chains():
    assert whole_number_settings(METHODS["progressive"]) == {"steps"}
    assert "steps" not in whole_number_settings(METHODS["ladd"])  # several numbers, of one student


def test_data_without_images():
    assert has_no_images("nothing") and has_no_images({"name": "nothing", "shape": [2]})
    assert not has_no_images("digits")


def test_a_stage_is_judged_by_data_that_it_shares_with_the_run():
    source = changed("stages.teacher.data={name: toy, kind: moons}")
    teacher, first, *_ = build(source).stages
    assert (teacher.judged, first.judged) == (False, True) and teacher.model.predicts == "v"
