"""Trainings on two and four processes, whole or in shards, are those of one."""

import json
import shutil

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from tests.helpers import trainings
from tests.helpers.processes import distance, together

pytestmark = pytest.mark.long

METHODS = ("denoising", "duel", "cd", "scd", "meanflow", "gan", "add")  # one network, three in two turns, ...


JOBS = {name: {"method": name} for name in METHODS} | {
    "lora": {"method": "cd", "lora": {"rank": 2}, "train": {"lr": 0.01}}
}


SHARDS = {f"{name}-shard": {"method": name, "train": {"shard": True}} for name in ("duel", "scd", "meanflow")}


PARTS = {
    "parts": {"method": "duel", "train": {"gradient_accumulation": 2}},
    "parts-shard": {"method": "duel", "train": {"gradient_accumulation": 4, "shard": True}},
}


AWAY = {
    "away": {"method": "cd", "train": {"offload": True}},
    "away-shard": {"method": "cd", "train": {"offload": True, "shard": True}},
}


PALE = {
    "pale": {"method": "cd", "train": {"teacher_dtype": "bfloat16"}},
    "pale-shard": {"method": "cd", "train": {"teacher_dtype": "bfloat16", "offload": True, "shard": True}},
}


HALF = {"half": {"method": "duel", "train": {"save_every": 13}, "until": 13}}


REST = {"rest": {"method": "duel", "train": {"shard": True}}}  # it goes on in shards


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of trainings on two processes, and of some on four that go on where two left off."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "two.json").write_text(json.dumps(JOBS | SHARDS | PARTS | AWAY | PALE | HALF))
    together(folder, 2, "tests.helpers.trainings", folder / "two.json", folder)
    shutil.copytree(folder / "half", folder / "rest")
    (folder / "four.json").write_text(json.dumps(REST))
    together(folder, 4, "tests.helpers.trainings", folder / "four.json", folder)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same on one process: by method, all that the training changes."""
    torch.set_num_threads(1)
    folder, accelerator = tmp_path_factory.mktemp("alone"), Accelerator(cpu=True)
    return {name: trainings.train(job, folder / name, accelerator)[0] for name, job in JOBS.items()}


@pytest.mark.parametrize("name", [*JOBS, *SHARDS, *PARTS, *AWAY])
def test_training_on_two_processes_is_that_on_one(trained, alone, name):
    """DDP or shards, whole batches or parts: the same global batches and noise,
    so the same weights and averages."""
    method = name if name in JOBS else (SHARDS | PARTS | AWAY)[name]["method"]
    assert distance(load_file(trained / f"{name}.safetensors"), alone[method]) < 1e-4
    assert distance(alone[method], {k: torch.zeros_like(v) for k, v in alone[method].items()}) > 0.05


@pytest.mark.parametrize("name", PALE)
def test_a_teacher_in_bfloat16_teaches_two_processes_nearly_the_same(trained, alone, name):
    """DDP, or from main memory and in shards; bfloat16 rounds a batch's half as it likes."""
    assert distance(load_file(trained / f"{name}.safetensors"), alone["cd"]) < 0.05


@pytest.mark.parametrize("name", [*JOBS, *SHARDS, *PARTS])
def test_ranks_end_equal_to_the_last_bit(trained, name):
    one, two = (load_file(trained / f"{name}-{rank}.safetensors") for rank in (0, 1))
    assert set(one) == set(two) and all(torch.equal(one[k], two[k]) for k in one)
    assert any(k.startswith("student.net.first.") for k in one) == (
        "shard" not in name
    )  # in shards none has it whole


def test_what_two_processes_began_one_and_four_finish(trained, alone, tmp_path):
    shutil.copytree(trained / "half", tmp_path / "half")
    run = trainings.training(JOBS["duel"], tmp_path / "half", Accelerator(cpu=True))
    assert run.step == 13 and run.images == 13 * 2 * 32
    list(run)
    assert distance(run.tensors(), alone["duel"]) < 1e-4
    assert distance(load_file(trained / "rest.safetensors"), alone["duel"]) < 1e-4
