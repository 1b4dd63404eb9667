"""The origin of a stage's model: what changes it, where models are, and what is made of another."""

import json
from dataclasses import dataclass, field

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.runs.origin import (
    data_source,
    model_path,
    non_default_settings,
    public_name,
    same_origin,
    set_aside_others,
    training_origin,
)
from tests.helpers.recipes import PLAIN, changed
from tests.helpers.run_contexts import context
from tests.helpers.swept import model, stored


@dataclass
class Settings:
    steps: int = 4
    times: tuple[float, ...] = (1.0,)
    names: dict = field(default_factory=dict)


def test_a_setting_at_its_default_leaves_an_origin_as_it_was():
    assert non_default_settings(Settings()) == {}
    assert non_default_settings(Settings(2, (0.5,), {"a": 1})) == {
        "steps": 2,
        "times": "(0.5,)",
        "names": "{'a': 1}",
    }


def test_an_origin_leaves_out_the_first_default_of_a_setting_that_has_another_now():
    @dataclass
    class Changed(Settings):
        first_defaults = {"steps": 2}

    assert non_default_settings(Changed(2)) == {} and non_default_settings(Changed()) == {"steps": 4}
    assert non_default_settings(Changed(2, (0.5,))) == {"times": "(0.5,)"}


def test_a_training_is_known_by_its_method_data_and_models(tmp_path):
    def origin(*assignments, seed=0):
        stored(tmp_path / "teacher", model(seed), "denoising")
        run = context(changed(*assignments), tmp_path)
        return training_origin(run, run.recipe.stages[1], run.dataset)

    plain = origin()
    assert plain["method"] == {"name": "progressive"} | non_default_settings(
        context(PLAIN, tmp_path).recipe.stages[1].method
    )
    assert plain["teacher"] == plain["init"] and plain == origin("stages.teacher.train.steps=3")
    others = [
        origin("data.n=65"),
        origin(seed=1),
        origin("stages.progressive.method.steps=[8, 2]"),
        origin("stages.progressive.init=./elsewhere"),
    ]
    assert len({json.dumps(one) for one in (plain, *others)}) == 5


def test_a_stage_is_found_in_its_run_and_a_path_where_it_lies(tmp_path):
    stored(tmp_path / "teacher", model(), "denoising")
    assert model_path("teacher", tmp_path) == tmp_path / "teacher"
    assert [model_path(name, tmp_path) for name in ("user/model", "~/x")] == ["user/model", "~/x"]
    with pytest.raises(FastdiffError, match="^stage student is not trained yet: run it first"):
        model_path("student", tmp_path)


def test_what_was_made_of_another_is_kept_aside(tmp_path):
    run, place = context(PLAIN, tmp_path), tmp_path / "student"
    set_aside_others(run, place, {"teacher": "a"})
    (place / "weights").write_text("of a")
    set_aside_others(run, place, {"teacher": "a"})
    assert (place / "weights").exists() and run.console.file.getvalue() == ""
    set_aside_others(run, place, {"teacher": "b"})
    [aside] = tmp_path.glob("student.before-*")
    assert (aside / "weights").read_text() == "of a" and [p.name for p in place.iterdir()] == ["origin.json"]
    assert json.loads((place / "origin.json").read_text()) == {"teacher": "b"}
    assert f"the old one is kept as {aside.name}" in run.console.file.getvalue()


def test_of_a_path_only_the_last_part_is_public(tmp_path):
    assert public_name("user/model") == "user/model" and public_name("/home/someone/teacher") == "teacher"
    assert data_source(context(PLAIN, tmp_path)) == ("toy", "toy", "")


def test_keys_that_were_added_later_may_be_missing():
    """A stage that was trained before an encoder's settings were recorded stays finished."""
    early = {"method": {"name": "denoising"}, "data": "a", "text": "b"}
    assert same_origin(early, early | {"text settings": "c"}) and same_origin(early, early)
    assert not same_origin(early | {"text settings": "d"}, early | {"text settings": "c"})
    assert not same_origin(early, early | {"data": "c"}) and not same_origin(early | {"base": "e"}, early)
    assert not same_origin(None, early)
