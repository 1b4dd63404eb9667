"""STAGE@STEP: a model from a state of its training."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import fastdiff
from fastdiff.core.errors import FastdiffError
from fastdiff.io.fingerprint import fingerprint
from fastdiff.io.load import model_folder, read_metadata
from fastdiff.io.training_state import state_of
from fastdiff.runs.origin import model_path
from fastdiff.runs.recipe import build
from fastdiff.runs.run import train_all
from tests.helpers.recipes import changed
from tests.helpers.run_contexts import context

SOURCE = changed("train.steps=4", "train.save_every=2", "train.ema=0.5", "stages.teacher.train.steps=4")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("states")
    train_all(context(SOURCE, folder), "teacher")
    return folder


def average(folder, step):
    tensors = load_file(folder / "state" / f"{step:08d}" / "tensors.safetensors")
    return {name.removeprefix("ema."): value for name, value in tensors.items() if name.startswith("ema.")}


@pytest.mark.parametrize("step", [2, 4])
def test_a_kept_step_is_the_average_of_its_state(trained, step):
    model = fastdiff.load(f"{trained}/teacher@{step}")
    found, expected = model.state_dict(), average(trained / "teacher", step)
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)
    assert fastdiff.sample(model, n=2, steps=1).shape == (2, 2)


def test_the_last_step_is_the_finished_model_and_an_earlier_one_another(trained):
    last, early = (fastdiff.load(f"{trained}/teacher@{step}").state_dict() for step in (4, 2))
    final = fastdiff.load(trained / "teacher").state_dict()
    assert all(torch.equal(final[key], last[key]) for key in final)
    assert not all(torch.equal(final[key], early[key]) for key in final)
    described = [read_metadata(Path(model_folder(f"{trained}/teacher{at}"))) for at in ("", "@2")]
    assert described[0]["sources"] == described[1]["sources"] and described[1]["method"] == "denoising"
    prints = {fingerprint(model_folder(f"{trained}/teacher@{step}")) for step in (2, 4)}
    assert len(prints) == 2 and fingerprint(trained / "teacher") in prints


def test_a_student_starts_from_a_step_of_its_run(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    source = SOURCE | {"stages": SOURCE["stages"] | {"late": {"method": "ect", "init": "teacher@2"}}}
    train_all(context(source, folder), "late")
    first = fastdiff.load(folder / "late" / "state" / "model").state_dict()
    expected = average(trained / "teacher", 2)
    assert all(torch.equal(first[key], expected[key]) for key in expected)
    assert model_path("teacher@4", folder) == folder / "teacher/state/00000004/model"


def test_a_step_that_is_not_kept_is_refused_with_those_that_are(trained):
    with pytest.raises(
        FastdiffError, match="teacher@3: expected a step whose state is kept, 2, 4; train.keep"
    ):
        fastdiff.load(f"{trained}/teacher@3")


def test_damaged_states_and_states_without_a_first_model_are_refused(trained, tmp_path):
    folder = tmp_path / "teacher"
    shutil.copytree(trained / "teacher", folder)
    for state in (folder / "state").glob("0*"):
        shutil.rmtree(state / "model", ignore_errors=True)
    with open(folder / "state/00000002/tensors.safetensors", "r+b") as file:
        file.seek(-4, 2)
        file.write(b"\x01\x02\x03\x04")
    with pytest.raises(FastdiffError, match="teacher@2: the state is damaged: choose another step"):
        fastdiff.load(f"{folder}@2")
    shutil.rmtree(folder / "state" / "model")
    with pytest.raises(FastdiffError, match="trains an adapter, or was trained by an earlier version"):
        fastdiff.load(f"{folder}@4")


def test_other_paths_and_hub_ids_are_not_states(tmp_path):
    (tmp_path / "odd@12").mkdir()
    for path in ("user/model@12", "user/model@main", str(tmp_path / "odd@12"), str(tmp_path / "no@3"), "@5"):
        assert state_of(path) is None
    with pytest.raises(FastdiffError, match="'nobody@3' is neither an earlier stage nor a path"):
        build(changed("stages.consistency.init=nobody@3"))
