"""The model that is measured with the baselines: the stage that others name, or an error."""

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.runs import recipe
from fastdiff.runs.baseline_teacher import baseline_teacher
from tests.helpers.paths import ROOT
from tests.helpers.recipes import PLAIN

OUTSIDE = "checkpoints/digits/teacher"


def found(stages, **bench):
    return baseline_teacher(recipe.build(PLAIN | {"stages": stages, "bench": PLAIN["bench"] | bench}))


def test_the_stage_that_others_name():
    student = {"method": "ect", "teacher": "mine"}
    assert found({"mine": {"method": "ect"}, "student": student}) == ("mine", None)
    assert found({"other": {"method": "denoising"}, "mine": {"method": "ect"}, "student": student}) == (
        "mine",
        None,
    )
    assert found({"mine": {"method": "ect"}, "b": {"method": "ect", "init": "mine"}}) == ("mine", None)
    assert found({"a": {"method": "denoising"}, "b": {"method": "denoising"}}) == ("a", None)
    assert found({"mine": {"method": "ect"}, "student": student}, teacher="student") == ("student", None)


def test_a_teacher_outside_the_run():
    students = {"a": {"method": "ect", "teacher": OUTSIDE}}
    assert found(students) == ("teacher", OUTSIDE)
    assert found({"teacher": students["a"]}) == ("outside-teacher", OUTSIDE)
    first = {"first": {"method": "ect", "init": OUTSIDE}, "second": {"method": "ect", "teacher": "first"}}
    assert found(students | first) == ("teacher", OUTSIDE)


def test_requested_baselines_have_a_teacher_or_are_refused():
    alone = {"mine": {"method": "ect"}}
    assert found(alone) == (None, None)
    assert found(alone, baselines=["ddim:8"]) == ("mine", None)
    assert found(alone | {"b": {"method": "ect"}}, baselines=[]) == (None, None)
    line = r"^bench.baselines = \['ddim:8'\]: no stage names one of mine, b as .*set bench.teacher"
    with pytest.raises(FastdiffError, match=line):
        found(alone | {"b": {"method": "ect"}}, baselines=["ddim:8"])


def test_shipped_recipes_keep_the_teacher_of_their_rows():
    """As it was chosen when they were measured: the first stage of `denoising`, else a teacher outside."""
    for path in sorted((ROOT / "recipes").rglob("*.yaml")):
        shipped = recipe.load(path)
        stages = [stage for stage in shipped.stages if stage.judged]
        names = [stage.name for stage in stages if stage.method]
        former = shipped.bench.teacher or next((s.name for s in stages if s.method_name == "denoising"), None)
        outside = next((s.teacher for s in stages if s.teacher and s.teacher not in names), None)
        expected = (former, None) if former else ("teacher", outside) if outside else (None, None)
        assert baseline_teacher(shipped) == expected, path.name
