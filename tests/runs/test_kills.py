"""kill -9 at random moments, over all kinds of stage and inside saves: the run ends bit for bit like an
unbroken one."""

import random
import shutil
import signal
import time

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.forks import command, fork
from tests.helpers.rows import model_rows

RECIPE = """
name: crash
data: {name: toy, n: 500}
model: {net: {name: mlp, width: 16, depth: 1}, schedule: flow, predicts: velocity}
train: {steps: 40, batch: 64, save_every: 2, log_every: 5, ema: 0.9}
stages:
  teacher: {method: {name: denoising, times: {name: importance, bins: 4}}}
  progressive: {method: {name: progressive, steps: [4, 2]}, teacher: teacher}
  pairs: {pairs: {n: 9000, steps: 4}, teacher: teacher}
  kd: {method: kd, data: pairs, init: teacher}
  reflow: {method: reflow, data: pairs, init: teacher}
  cd: {method: cd, teacher: teacher}
  ect: {method: ect, init: teacher}
  tcm: {method: tcm, teacher: ect}
  scd: {method: scd, teacher: teacher}
  meanflow: {method: meanflow, init: teacher}
bench: {steps: [1, 2], baselines: ["ddim:4"], n: 64, seeds: [0, 1]}
"""
STAGES = (
    "teacher",
    "progressive-4",
    "progressive-2",
    "pairs",
    "kd",
    "reflow",
    "cd",
    "ect",
    "tcm",
    "scd",
    "meanflow",
)
KEPT = (
    "mlp/diffusion_pytorch_model.safetensors",
    "state/00000040/tensors.safetensors",
    "log.jsonl",
    "mlp/config.json",
)


KILLS = 12


@pytest.mark.long
def test_random_kills_change_nothing(tmp_path, capsys):
    recipe, whole, broken = tmp_path / "crash.yaml", tmp_path / "whole", tmp_path / "broken"
    recipe.write_text(RECIPE)

    def launch(out):
        return fork(command, out.with_suffix(".txt"), "run", recipe, "--out", out)

    def finish(out):
        process = launch(out)
        process.join(600)
        assert process.exitcode == 0, out.with_suffix(".txt").read_text()

    finish(tmp_path / "warm")  # the first fork pays for what is imported late
    shutil.rmtree(tmp_path / "warm")
    start = time.monotonic()
    finish(whole)
    pace, met, inside, seed = (time.monotonic() - start) / KILLS, {}, 0, random.randrange(10**6)
    luck = random.Random(seed)
    for _ in range(KILLS):
        process = launch(broken)
        process.join(luck.uniform(0.2, 1.3 + 2 * pace))  # about a second of it is the start
        if process.exitcode is not None:  # it came to the end before
            assert process.exitcode == 0, broken.with_suffix(".txt").read_text()
            break
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        halves = [*broken.rglob(".*.new"), *broken.rglob(".export")]
        inside += bool(halves)
        stage = next((name for name in STAGES if not finished(broken / name)), "benchmark")
        met[stage] = met.get(stage, 0) + 1
    finish(broken)
    with capsys.disabled():
        print(f"\n{sum(met.values())} kills (seed {seed}), {inside} inside a write, by stage: {met}")
    for stage in STAGES:
        for name in () if stage == "pairs" else KEPT:
            assert (whole / stage / name).read_bytes() == (broken / stage / name).read_bytes(), (
                stage,
                name,
                seed,
            )
    one, two = (
        load_file(out / "pairs/pairs.safetensors") for out in (whole, broken)
    )  # its header's order is chance
    assert set(one) == set(two) and all(torch.equal(one[name], two[name]) for name in one), seed
    rows = [model_rows(out) for out in (whole, broken)]
    names = ("key", "model", "sampler", "steps", "seed", "nfe", "energy", "swd", "weights")
    assert [[row[name] for name in names] for row in rows[0]] == [
        [row[name] for name in names] for row in rows[1]
    ]
    assert not [*broken.rglob(".*.new"), *broken.rglob("*.damaged*"), *broken.glob("*.before-*")]


def finished(stage):
    return (stage / "fastdiff.json").exists() or (stage / "pairs.safetensors").exists()
