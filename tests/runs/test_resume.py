"""States survive damage; a run that is killed again and again ends bit for bit like one that was not."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from fastdiff.training.checkpoint import load_state, save_state, states
from tests.helpers.forks import command, fork

RECIPE = """
name: tiny
data: {name: toy, n: 500}
model: {net: {name: mlp, width: 16, depth: 1}, schedule: cosine, predicts: v}
train: {steps: 100, batch: 64, save_every: 10, log_every: 5, ema: 0.9}
stages:
  teacher: {method: {name: denoising, times: {name: importance, bins: 4}}}
  progressive: {method: {name: progressive, steps: 2}, teacher: teacher}
  ect: {method: ect, init: teacher}
  cd: {method: cd, teacher: teacher}
bench: {steps: [1, 2], baselines: ["ddim:4", "ddpm:4"], n: 64, seeds: [0, 1, 2], batch: 64}
"""
STAGES = ("teacher", "progressive", "ect", "cd")


# ---- states


def tensors(value):
    return {"a": torch.full((3,), float(value)), "b.c": torch.tensor(value)}


def damage(state, how):
    file = state / "tensors.safetensors"
    if how == "cut":
        file.write_bytes(file.read_bytes()[:-7])
    elif how == "flipped":
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    elif how == "gone":
        file.unlink()
    elif how == "record":
        (state / "state.json").write_text('{"step": 3')


@pytest.mark.parametrize("how", ["cut", "flipped", "gone", "record"])
def test_a_damaged_state_is_set_aside_and_the_one_before_used(tmp_path, capsys, how):
    for attempt in range(2):  # the second time there is one set aside already
        save_state(tmp_path, 10, tensors(1), {"images": 640})
        save_state(tmp_path, 20, tensors(2), {"images": 1280})
        damage(tmp_path / "00000020", how)
        found, record = load_state(tmp_path)
        assert record["step"] == 10 and record["images"] == 640 and found["a"].tolist() == [1.0] * 3, attempt
        assert "00000020 is damaged" in capsys.readouterr().out
        assert (tmp_path / "00000020.damaged").is_dir() and [p.name for p in states(tmp_path)] == ["00000010"]
    damage(tmp_path / "00000010", how)
    assert load_state(tmp_path) is None


def test_a_half_written_state_is_ignored_and_written_over(tmp_path, capsys):
    save_state(tmp_path, 10, tensors(1), {})
    half = tmp_path / ".00000020.new"
    half.mkdir()
    (half / "tensors.safetensors").write_bytes(b"\x00" * 40)
    assert load_state(tmp_path)[1]["step"] == 10 and capsys.readouterr().out == ""
    save_state(tmp_path, 20, tensors(2), {})
    assert load_state(tmp_path)[1]["step"] == 20 and not half.exists()


def test_only_the_newest_states_stay(tmp_path):
    for step in (8, 9, 10, 100):
        save_state(tmp_path, step, tensors(step), {}, keep=3)
    assert [p.name for p in states(tmp_path)] == ["00000009", "00000010", "00000100"]
    save_state(tmp_path, 200, tensors(200), {})
    assert sorted(os.listdir(tmp_path)) == ["00000100", "00000200"]
    assert load_state(tmp_path)[0]["b.c"] == 200
    assert load_state(tmp_path / "nothing") is None


# ---- a run

# A file or folder of the run, and the text in it, whose appearance is the moment of a kill.
MOMENTS = (
    ("teacher/log.jsonl", '"step": 5,'),  # no state yet
    ("teacher/state/00000040", ""),
    ("progressive/log.jsonl", '"step": 35,'),
    ("ect/log.jsonl", '"step": 65,'),
    ("cd/state/.*.new", ""),  # a state half written
    ("bench.jsonl", "\n"),
)


def killed_at(moment, recipe, out):
    """A run that ends by kill -9 at a moment."""
    threading.Thread(target=kill_at, args=(out, *moment), daemon=True).start()
    command(out.with_suffix(".txt"), "run", recipe, "--out", out)


def kill_at(out, pattern, text):
    while not any(not text or text in path.read_text() for path in out.glob(pattern)):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The directories of an unbroken run and of one that was killed in every stage and in the benchmark."""
    folder = tmp_path_factory.mktemp("runs")
    recipe, whole, broken = folder / "tiny.yaml", folder / "whole", folder / "broken"
    recipe.write_text(RECIPE)

    def launch(out):
        return fork(command, out.with_suffix(".txt"), "run", recipe, "--out", out)

    unbroken = launch(whole)
    for pattern, text in MOMENTS:
        killed = fork(killed_at, (pattern, text), recipe, broken)
        killed.join(600)
        assert killed.exitcode == -signal.SIGKILL, f"{pattern}: {broken.with_suffix('.txt').read_text()}"
        assert not (broken / "report.md").exists()
        if pattern != "bench.jsonl":
            assert not (broken / pattern.partition("/")[0] / "fastdiff.json").exists(), pattern
    for process, out in ((unbroken, whole), (launch(broken), broken)):
        process.join(600)
        assert process.exitcode == 0, out.with_suffix(".txt").read_text()
    return recipe, whole, broken


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_ends_with_the_same_weights_to_the_last_bit(runs, stage):
    _, whole, broken = runs
    kept = (
        "mlp/diffusion_pytorch_model.safetensors",
        "mlp/config.json",
        "state/00000100/tensors.safetensors",
        "log.jsonl",
    )
    for name in kept:
        assert (whole / stage / name).read_bytes() == (broken / stage / name).read_bytes(), name
    notes = [json.loads((out / stage / "fastdiff.json").read_text()) for out in (whole, broken)]
    for note in notes:
        assert note["cost"].pop("seconds") > 0
    assert notes[0] == notes[1]


def test_a_killed_benchmark_has_every_row_once_and_alike(runs):
    _, whole, broken = runs
    rows = [
        [json.loads(line) for line in (out / "bench.jsonl").read_text().splitlines()]
        for out in (whole, broken)
    ]
    assert len(rows[0]) == len({row["key"] for row in rows[0]}) == 27
    kept = (
        "key",
        "model",
        "sampler",
        "spacing",
        "steps",
        "seed",
        "nfe",
        "energy",
        "train_images",
        "teacher_nfe",
        "cell",
    )
    assert [[row[k] for k in kept] for row in rows[0]] == [[row[k] for k in kept] for row in rows[1]]


def test_the_same_command_on_a_finished_run_does_nothing_and_says_so(runs):
    recipe, _, broken = runs
    before = {p: p.stat().st_mtime_ns for p in broken.rglob("*") if p.is_file() and p.parent != broken}
    rows = (broken / "bench.jsonl").read_bytes()
    again = subprocess.run(
        [sys.executable, "-m", "fastdiff", "run", recipe, "--out", broken],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "300"},
    )
    assert again.returncode == 0 and f"{broken.name}: done" in again.stdout, again.stdout + again.stderr
    assert {
        p: p.stat().st_mtime_ns for p in broken.rglob("*") if p.is_file() and p.parent != broken
    } == before
    assert (broken / "bench.jsonl").read_bytes() == rows
