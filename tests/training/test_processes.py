"""Two and four processes on the CPU: the same training, images and figures, one of every line."""

import importlib
import json
import os
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file

from fastdiff.evaluation.metric_names import FAMILIES
from fastdiff.evaluation.sweep import sweep
from fastdiff.io.load import load
from fastdiff.runs import recipe as recipes
from fastdiff.runs.run import run
from fastdiff.samplers.generate import sample
from tests.helpers import trainings
from tests.helpers.forks import fork

# Importance sums its memory over processes; 65 samples do not share evenly; one stage accumulates.
RECIPE = """
name: pair
data: {name: toy, n: 500}
model: {net: {name: mlp, width: 16, depth: 1}, schedule: flow, predicts: velocity}
train: {steps: 20, batch: 64, save_every: 10, log_every: 10, ema: 0.9}
stages:
  teacher: {method: {name: denoising, times: {name: importance, bins: 4}}}
  progressive: {method: {name: progressive, steps: 2}, teacher: teacher, train: {accumulate: 2}}
  cd: {method: cd, teacher: teacher}
bench: {steps: [1, 2], baselines: ["ddpm:4"], n: 65, seeds: [0, 1], batch: 16}
"""
STAGES = ("teacher", "progressive", "cd")


def together(folder, count, module, *words):
    """module.main of the words on so many processes of one thread, as torchrun starts them; what the first printed.

    torchrun itself starts those of test_signals.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = [folder / f"said-{port}-{rank}.txt" for rank in range(count)]
    # As torchrun sets them; without the last two accelerate would give every process the threads of the whole
    # machine.
    same = {
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": 1,
    }
    environments = [same | {"RANK": rank, "LOCAL_RANK": rank} for rank in range(count)] if count > 1 else [{}]
    processes = [
        fork(one, environment, path, module, [str(word) for word in words])
        for environment, path in zip(environments, said)
    ]
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [0] * count, "\n".join(
        path.read_text() for path in said
    )
    return said[0].read_text()


def one(environment, said, module, words):
    """One of the processes."""
    os.environ |= {name: str(value) for name, value in environment.items()} | {"COLUMNS": "200"}
    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(__file__).parents[2]))
    sys.stdout = sys.stderr = open(said, "w", buffering=1)  # noqa: SIM115
    main = importlib.import_module(module).main
    if module == "fastdiff.cli":
        sys.argv, words = ["fastdiff", *words], ()
    try:
        main(*words)
    except SystemExit as stop:
        if stop.code:
            raise
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The recipe, the directory of a run on two processes, and what it printed."""
    folder = tmp_path_factory.mktemp("processes")
    path = folder / "pair.yaml"
    path.write_text(RECIPE)
    return (
        recipes.load(path),
        folder / "two",
        together(folder, 2, "fastdiff.cli", "run", path, "--out", folder / "two"),
    )


def rows_of(folder):
    return [json.loads(line) for line in (folder / "bench.jsonl").read_text().splitlines()]


def test_two_processes_train_measure_and_report_once(pair):
    recipe, out, printed = pair
    assert printed.count(": done") == 1 and printed.count("1/3 teacher  20/20") == 1
    for name in ("report.html", "report.md", "bench.jsonl", *(f"{stage}/fastdiff.json" for stage in STAGES)):
        assert (out / name).stat().st_size > 0, name
    for stage in STAGES:
        lines = [json.loads(line) for line in (out / stage / "log.jsonl").read_text().splitlines()]
        assert [(line["step"], line["images"]) for line in lines] == [(10, 640), (20, 1280)]
    rows = rows_of(out)
    assert len(rows) == len({row["key"] for row in rows}) == 2 * (3 + 1 + 2)
    assert {row["processes"] for row in rows} == {2}


def test_training_on_two_processes_follows_the_run_on_one(pair, tmp_path):
    recipe, two, _ = pair
    torch.set_num_threads(1)
    run(recipe, tmp_path / "one")
    for stage in STAGES:
        a, b = (
            load_file(out / stage / "mlp/diffusion_pytorch_model.safetensors")
            for out in (tmp_path / "one", two)
        )
        assert max((a[k] - b[k]).abs().max() for k in a) < 1e-4, stage
    memory = [
        load_file(out / "teacher/state/00000020/tensors.safetensors") for out in (tmp_path / "one", two)
    ]
    assert torch.equal(*(m["memory.count"] for m in memory))
    torch.testing.assert_close(*(m["memory.moment"] for m in memory), rtol=1e-4, atol=0)


def test_figures_of_two_processes_are_those_of_one(pair, tmp_path):
    recipe, two, _ = pair
    models = {stage: two / stage for stage in STAGES}
    alone = list(sweep(models, recipe.dataset(), recipe.bench, tmp_path, teacher="teacher"))
    for row, own in zip(rows_of(two), alone, strict=True):
        assert row["key"] == own["key"] and row["nfe"] == own["nfe"] and own["processes"] == 1
        figures = [name for name in own if name.partition("_")[0] in FAMILIES]
        assert {"energy", "energy_se", "swd", "precision", "coverage", "nearest"} <= set(figures)
        for name in figures:
            assert row[name] == pytest.approx(own[name], rel=1e-3), name
    for kind in ("samples", "trajectory", "influence"):
        assert {p.name for p in (two / kind).iterdir()} == {p.name for p in (tmp_path / kind).iterdir()}


# ---- trainings, DDP and in shards

METHODS = ("denoising", "duel", "cd", "scd", "meanflow", "gan", "add")  # one network, three in two turns, ...
JOBS = {name: {"method": name} for name in METHODS} | {
    "lora": {"method": "cd", "lora": {"rank": 2}, "train": {"lr": 0.01}}
}
SHARDS = {f"{name}-shard": {"method": name, "train": {"shard": True}} for name in ("duel", "scd", "meanflow")}
PARTS = {
    "parts": {"method": "duel", "train": {"accumulate": 2}},
    "parts-shard": {"method": "duel", "train": {"accumulate": 4, "shard": True}},
}
AWAY = {
    "away": {"method": "cd", "train": {"offload": True}},
    "away-shard": {"method": "cd", "train": {"offload": True, "shard": True}},
}
PALE = {
    "pale": {"method": "cd", "train": {"teacher": "bfloat16"}},
    "pale-shard": {"method": "cd", "train": {"teacher": "bfloat16", "offload": True, "shard": True}},
}
HALF = {"half": {"method": "duel", "train": {"save_every": 23}, "until": 23}}
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


def distance(tensors, others):
    assert set(tensors) == set(others)
    return max(float((tensors[name] - others[name]).abs().max()) for name in tensors if ".step" not in name)


@pytest.mark.parametrize("name", [*JOBS, *SHARDS, *PARTS, *AWAY])
def test_training_on_two_processes_is_that_on_one(trained, alone, name):
    """DDP or shards, whole batches or parts: the same global batches and noise, so the same weights and averages."""
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
    assert run.step == 23 and run.images == 23 * 2 * 32
    list(run)
    assert distance(run.tensors(), alone["duel"]) < 1e-4
    assert distance(load_file(trained / "rest.safetensors"), alone["duel"]) < 1e-4


# ---- samples


def test_two_and_four_processes_draw_the_samples_of_one(tmp_path, fastdiff):
    how = ("sample", "checkpoints/digits/consistency", "--steps", "2", "-n", "9", "--seed", "3")
    assert fastdiff(*how, "--out", tmp_path / "1")[0] == 0
    for count in (2, 4):
        printed = together(tmp_path, count, "fastdiff.cli", *how, "--out", tmp_path / str(count))
        assert printed.count("9 samples in") == 1
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert len(names) == 9
    for count in ("2", "4"):
        assert sorted(path.name for path in (tmp_path / count).iterdir()) == names
        for name in names:
            a, b = (np.asarray(Image.open(tmp_path / k / name), int) for k in ("1", count))
            assert abs(a - b).max() <= 1, (count, name)  # one level of 256: rounding


def test_a_share_of_the_samples_is_their_part(tmp_path):
    model = load("checkpoints/digits/consistency")
    whole = sample(model, steps=2, n=7)
    for world in (2, 3):
        for rank in range(world):
            own = sample(model, steps=2, n=7, share=(rank, world))
            torch.testing.assert_close(own, whole[rank::world], atol=1e-4, rtol=0)
    assert sample(model, steps=2, n=1, share=(1, 2)).shape == (0, 1, 8, 8)
