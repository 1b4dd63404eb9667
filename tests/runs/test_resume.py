"""A run that is killed again and again ends bit for bit like one that was not."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.helpers.forks import command, fork, kill_at
from tests.helpers.rows import model_rows

pytestmark = pytest.mark.long

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
    rows = [model_rows(out) for out in (whole, broken)]
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
