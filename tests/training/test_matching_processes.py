"""Three networks in turns on two processes: the training of one,
stopped and gone on with in the middle of a cycle."""

import json
import shutil

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from tests.helpers import trainings as many
from tests.helpers.processes import distance, together

pytestmark = pytest.mark.long

TURNS, STEPS, HALF = 3, 20, 10  # 10 is no multiple of 3


JOBS = {
    name: {
        "method": name,
        "settings": {"fake_turns": TURNS, "steps": [1, 2], "discriminator_weight": 1.0},
        "train": {"steps": STEPS, "save_every": 1000, "lr": 3e-3, "ema": 0.9},
    }
    for name in ("dmd2", "f_distill")
}


HALVES = {
    f"{name}-half": job | {"until": HALF, "train": job["train"] | {"save_every": HALF}}
    for name, job in JOBS.items()
}


RESTS = {f"{name}-rest": job for name, job in JOBS.items()}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of trainings on two processes: whole ones, halves, and what goes on from these."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "first.json").write_text(json.dumps(JOBS | HALVES))
    together(folder, 2, "tests.helpers.trainings", folder / "first.json", folder)
    for name in JOBS:
        shutil.copytree(folder / f"{name}-half", folder / f"{name}-rest")
    (folder / "second.json").write_text(json.dumps(RESTS))
    together(folder, 2, "tests.helpers.trainings", folder / "second.json", folder)
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The same, uninterrupted, on one process: by method, all that the training changes."""
    torch.set_num_threads(1)
    folder, accelerator = tmp_path_factory.mktemp("one"), Accelerator(cpu=True)
    return {name: many.train(job, folder / name, accelerator)[0] for name, job in JOBS.items()}


@pytest.mark.parametrize("name", JOBS)
def test_two_processes_train_the_three_networks_of_one(two, one, name):
    """Weights, averages, optimizers, and what is remembered."""
    tensors = load_file(two / f"{name}.safetensors")
    assert distance(tensors, one[name]) < 1e-4
    roles = {key.split(".")[1] if key.startswith("optimizer") else key.split(".")[0] for key in tensors}
    assert roles == {"student", "fake", "discriminator", "ema"} | (
        {"ratios", "ratio_weights"} if name == "f_distill" else set()
    )
    steps = {role: int(tensors[f"optimizer.{role}.0.step"]) for role in ("student", "fake", "discriminator")}
    assert steps == {"student": STEPS // TURNS, "fake": STEPS, "discriminator": STEPS}
    begun = many.training(JOBS[name], two / "begun", Accelerator(cpu=True)).tensors()
    for role in ("student.", "fake.", "discriminator."):
        assert (
            distance(*({k: v for k, v in of.items() if k.startswith(role)} for of in (begun, tensors))) > 0.01
        ), role


@pytest.mark.parametrize("name", JOBS)
def test_what_is_stopped_in_the_middle_of_a_cycle_ends_alike_on_two_processes_and_on_one(
    two, one, name, tmp_path
):
    assert HALF % TURNS and STEPS % TURNS
    assert distance(load_file(two / f"{name}-rest.safetensors"), one[name]) < 1e-4
    shutil.copytree(two / f"{name}-half", tmp_path / "rest")
    run = many.training(JOBS[name], tmp_path / "rest", Accelerator(cpu=True))
    assert run.step == HALF and run.images == (HALF + HALF // TURNS) * 32
    list(run)
    assert distance(run.tensors(), one[name]) < 1e-4


@pytest.mark.parametrize("name", JOBS)
def test_one_process_goes_on_to_the_last_bit(one, name, tmp_path):
    many.train(HALVES[f"{name}-half"], tmp_path / name, Accelerator(cpu=True))
    tensors, _ = many.train(JOBS[name], tmp_path / name, Accelerator(cpu=True))
    assert set(tensors) == set(one[name]) and all(torch.equal(tensors[k], one[name][k]) for k in tensors)


@pytest.mark.parametrize("name", [*JOBS, *RESTS])
def test_ranks_end_equal_to_the_last_bit(two, name):
    """What f_distill remembers of the ratios, too: it is summed over the processes."""
    first, second = (load_file(two / f"{name}-{rank}.safetensors") for rank in (0, 1))
    assert set(first) == set(second) and all(torch.equal(first[k], second[k]) for k in first)
    assert ("ratios.moment" in first) == ("f_distill" in name)
    assert "f_distill" not in name or first["ratios.count"].sum() > 0
