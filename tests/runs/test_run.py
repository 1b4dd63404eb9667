"""A run of a recipe: what is refused before anything is trained."""

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.runs.recipe import build
from fastdiff.runs.run import check_stages, precision_of, run
from tests.helpers.recipes import PLAIN, changed
from tests.helpers.run_contexts import context


def test_a_run_has_one_precision():
    assert precision_of(build(PLAIN)) == "no"
    assert precision_of(build(changed("train.precision=bf16"))) == "bf16"
    with pytest.raises(FastdiffError, match="train.precision = no and bf16: expected the same"):
        precision_of(build(changed("stages.progressive.train.precision=bf16")))


def test_a_stage_too_short_for_a_turn_of_its_student_is_refused_unless_it_is_left_out(tmp_path):
    method = {"name": "gan", "discriminator_turns": 5, "gan": {"weight": 1}}
    short = context(
        PLAIN | {"stages": PLAIN["stages"] | {"short": {"method": method, "train": {"steps": 4}}}}, tmp_path
    )
    check_stages(short, "teacher")
    with pytest.raises(
        FastdiffError, match="^stages.short.train.steps = 4: the student is updated every 5 steps"
    ):
        check_stages(short, None)


def test_only_a_stage_of_the_recipe_is_trained_alone(tmp_path):
    with pytest.raises(
        FastdiffError, match="^--only nobody: no such stage, choose from teacher, progressive"
    ):
        run(build(PLAIN), tmp_path / "out", only="nobody")
    assert not (tmp_path / "out").exists()
