"""The student of a stage and its teacher, loaded as the stage says and refused where they do not fit."""

from dataclasses import replace

import pytest

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Cosine
from fastdiff.networks import mlp
from fastdiff.networks.lora import Lora
from fastdiff.runs.student import check_guidance, load_networks, shared_teacher
from tests.helpers.recipes import PLAIN
from tests.helpers.run_contexts import context
from tests.helpers.swept import model, stored


def test_a_stage_without_models_starts_from_a_fresh_one(tmp_path):
    run = context(PLAIN, tmp_path)
    student, teacher = load_networks(run, run.recipe.stages[0], None)
    assert teacher is None and student.shape == (2,) and student.net.config.width == 8


def test_a_student_starts_as_its_teacher_and_is_another_network(tmp_path):
    stored(tmp_path / "teacher", model(), "denoising")
    run = context(PLAIN, tmp_path)
    student, teacher = load_networks(run, run.recipe.stages[1], None)
    assert student.sampling.steps == (4,) and teacher.schedule == student.schedule == Cosine()
    for own, other in zip(student.parameters(), teacher.parameters(), strict=True):
        assert own.equal(other) and own.data_ptr() != other.data_ptr()


def test_a_teacher_that_is_not_there_or_makes_other_samples_is_refused(tmp_path):
    run = context(PLAIN, tmp_path)
    with pytest.raises(FastdiffError, match="^stage teacher is not trained yet"):
        load_networks(run, run.recipe.stages[1], None)
    wide = Denoiser(mlp((3,), width=8, depth=1), Cosine(), "v", (3,))
    stored(tmp_path / "teacher", wide, "denoising")
    with pytest.raises(FastdiffError, match=r"stage progressive-4: teacher makes samples of shape \(3,\)"):
        load_networks(run, run.recipe.stages[1], None)


def test_the_teacher_of_an_adapter_shares_the_memory_of_its_start(tmp_path):
    stage = context(PLAIN, tmp_path).recipe.stages[1]
    adapter = replace(stage, train=replace(stage.train, lora=Lora(rank=2)))
    start = model().requires_grad_(False)
    shared = shared_teacher(adapter, start)
    assert all(a is b for a, b in zip(shared.parameters(), start.parameters())) and shared is not start
    for other in (
        stage,
        replace(adapter, init="another"),
        replace(adapter, train=replace(adapter.train, teacher_dtype="bfloat16")),
        replace(adapter, train=replace(adapter.train, offload=True)),
    ):
        assert shared_teacher(other, start) is None


def test_student_and_teacher_take_the_same_range_of_guidance(tmp_path):
    stage = context(PLAIN, tmp_path).recipe.stages[1]
    plain, guided = model(), model()
    guided.guidance = (1.0, 3.0)
    check_guidance(stage, None, None)
    check_guidance(stage, None, plain)
    check_guidance(stage, (1.0, 3.0), guided)
    for own, teacher in (((1.0, 3.0), plain), ((1.0, 3.0), None), (None, guided), ((1.0, 4.0), guided)):
        with pytest.raises(FastdiffError, match="^stage progressive-4: teacher takes a guidance weight"):
            check_guidance(stage, own, teacher)
