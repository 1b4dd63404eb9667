"""The claim of a directory: settings that may change, stages to redo, trainings that become longer."""

import inspect
import shutil

import pytest
import torch
import yaml
from accelerate import Accelerator

import fastdiff
from fastdiff.core.errors import FastdiffError
from fastdiff.methods import METHODS
from fastdiff.runs.claim import claim, descendants, trained_settings
from fastdiff.runs.recipe import build
from fastdiff.runs.run import train_all
from fastdiff.runs.status import SET_ASIDE
from fastdiff.training.config import CHANGEABLE_ON_RESUME
from tests.helpers.recipes import PLAIN, changed
from tests.helpers.run_contexts import context

QUICK = ("train.steps=4", "train.save_every=2")


def trained(folder, *assignments, only=None, redo=()):
    """Claim a directory and train its stages, without the benchmark."""
    source = changed(*QUICK, *assignments)
    claim(folder, build(source), Accelerator(cpu=True), redo)
    train_all(context(source, folder), only)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a finished run of the plain recipe."""
    return trained(tmp_path_factory.mktemp("claim"))


@pytest.fixture
def again(finished, tmp_path):
    """Run the recipe with changes on a copy of the finished directory; return the directory."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    return lambda *assignments, **options: trained(folder, *assignments, **options)


def aside(folder):
    return sorted(path.name.split(SET_ASIDE)[0] for path in folder.iterdir() if SET_ASIDE in path.name)


def weights(folder):
    return fastdiff.load(folder).net.state_dict()


def test_a_directory_belongs_to_the_settings_of_its_training(tmp_path):
    def claimed(*assignments):
        claim(tmp_path, build(changed(*assignments)), Accelerator(cpu=True))
        for name in ("teacher", "consistency"):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "origin.json").write_text("{}")
        return yaml.safe_load((tmp_path / "recipe.yaml").read_text())

    assert claimed() == PLAIN and set(trained_settings(PLAIN)) == set(PLAIN) - {"bench"}
    free = claimed("bench.n=9", "stages.teacher.train.log_every=7")
    assert free["bench"]["n"] == 9 and free["stages"]["teacher"]["train"]["log_every"] == 7
    with pytest.raises(FastdiffError, match="teacher was made with train.lr = 0.001, and the recipe now has"):
        claimed("train.lr=0.002")
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text()) == free
    roles = "stages.consistency.train.roles.fake.max_grad_norm=2.0"
    with pytest.raises(FastdiffError, match="consistency was made with stages.consistency.train.roles"):
        claimed(roles)
    assert not {"roles", "teacher"} & set(CHANGEABLE_ON_RESUME)


def test_the_error_names_the_key_the_stage_and_both_ways(again):
    with pytest.raises(FastdiffError) as caught:
        again("stages.progressive.train.lr=0.01", "stages.consistency.train.lr=0.02")
    said = str(caught.value)
    assert (
        "progressive-4 was made with stages.progressive.train.lr = 0.001, and the recipe now has 0.01" in said
    )
    assert "add --redo progressive-4 --redo consistency to train" in said and "another --out" in said


def test_a_redone_stage_is_set_aside_with_what_follows_and_the_rest_stays(again, finished):
    folder = again("stages.progressive.train.lr=0.01", redo=("progressive-4",))
    assert aside(folder) == ["progressive-2", "progressive-4"]
    for name, same in (("teacher", True), ("consistency", True), ("progressive-4", False)):
        before, now = weights(finished / name), weights(folder / name)
        assert all(torch.equal(before[key], now[key]) for key in before) == same, name
    kept = next(folder.glob(f"progressive-4{SET_ASIDE}*"))
    assert all(torch.equal(weights(kept)[k], v) for k, v in weights(finished / "progressive-4").items())
    assert again("stages.progressive.train.lr=0.01", redo=("progressive-4",)) == folder
    assert aside(folder) == ["progressive-2", "progressive-4"]  # nothing is redone twice


def test_new_stages_join_and_a_stage_that_returns_with_other_settings_is_refused(again):
    new = "stages.longer={method: ect, init: teacher, train: {lr: 0.003}}"
    folder = again(new)
    assert aside(folder) == [] and (folder / "longer" / "fastdiff.json").exists()
    again()
    with pytest.raises(FastdiffError, match="longer was made with stages.longer = no such stage"):
        again(new.replace("0.003", "0.004"))


def test_a_training_becomes_longer_bit_for_bit(again, finished, tmp_path):
    longer = ("stages.teacher.train.steps=7",)
    (tmp_path / "whole").mkdir()
    whole = trained(tmp_path / "whole", *longer, only="teacher")
    folder = again(*longer, only="teacher")
    assert aside(folder) == []
    expected, known = weights(whole / "teacher"), weights(folder / "teacher")
    assert all(torch.equal(expected[key], known[key]) for key in expected)
    short = weights(finished / "teacher")
    assert not all(torch.equal(short[key], known[key]) for key in short)


@pytest.mark.parametrize(
    "change",
    [
        "stages.teacher.train.steps=1",  # shorter
        "stages.consistency.train.steps=6",  # its curriculum depends on the number of all steps
    ],
)
def test_a_training_that_cannot_become_longer_is_refused(change, again):
    with pytest.raises(FastdiffError, match="train.steps"):
        again(change)


@pytest.mark.parametrize("name", METHODS)
def test_methods_that_use_the_number_of_all_steps_declare_it(name):
    kinds = [kind for kind in METHODS[name].__mro__ if kind.__module__.startswith("fastdiff.methods")]
    sources = "".join(inspect.getsource(kind) for kind in kinds if kind.__name__ != "Method")
    if "progress.fraction" in sources or "progress.steps" in sources:
        assert METHODS[name].depends_on_length is not False


def test_descendants_follow_every_reference():
    recipe = build(changed("stages.last={method: cd, teacher: progressive-2}"))
    assert descendants(recipe, ("progressive-4",)) == {"progressive-4", "progressive-2", "last"}
    assert descendants(recipe, ()) == set()


def test_only_a_stage_of_the_recipe_is_redone(again):
    with pytest.raises(FastdiffError, match="^--redo nobody: no such stage, choose from teacher"):
        again(redo=("nobody",))
