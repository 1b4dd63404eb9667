"""A run of a recipe: what fixes its directory, and what is refused before anything is trained."""

import pytest
import yaml
from accelerate import Accelerator

from fastdiff.core.errors import FastdiffError
from fastdiff.runs.recipe import build
from fastdiff.runs.run import check_stages, claim, is_free, precision_of, run, trained_settings
from fastdiff.training.config import CHANGEABLE_ON_RESUME
from tests.helpers.recipes import PLAIN, changed
from tests.helpers.run_contexts import context


def test_settings_of_roles_fix_a_run():
    assert not {"roles", "teacher"} & set(CHANGEABLE_ON_RESUME)
    assert not is_free("stages.student.train.roles.fake.max_grad_norm") and is_free(
        "stages.student.train.log_every"
    )


def test_a_directory_belongs_to_the_settings_of_its_training(tmp_path):
    def claimed(*assignments):
        claim(tmp_path, build(changed(*assignments)), Accelerator(cpu=True))
        return yaml.safe_load((tmp_path / "recipe.yaml").read_text())

    assert claimed() == PLAIN and set(trained_settings(PLAIN)) == set(PLAIN) - {"bench"}
    free = claimed("bench.n=9", "stages.teacher.train.log_every=7")
    assert free["bench"]["n"] == 9 and free["stages"]["teacher"]["train"]["log_every"] == 7
    with pytest.raises(FastdiffError, match="was made with train.lr = 0.001, and the recipe now has 0.002"):
        claimed("train.lr=0.002")
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text()) == free


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
