"""Runs that train an adapter: killed and gone on with."""

import os
import signal
import threading

import pytest

from tests.helpers.forks import command, fork, kill_at

RECIPE = """
name: adapted
data: {name: toy, n: 200}
model: {net: {name: mlp, width: 16, depth: 1}, schedule: cosine, predicts: v}
train: {steps: 20, batch: 32, save_every: 5, log_every: 5, ema: 0.9}
stages:
  teacher: {method: denoising}
  cd: {method: {name: cd, mu: 0.5}, teacher: teacher, train: {lora: {rank: 2}}}
  meanflow: {method: meanflow, teacher: teacher, train: {lora: {rank: 2}}}
"""


def killed(recipe, out):
    threading.Thread(target=kill_at, args=(out, "cd/state/00000010", ""), daemon=True).start()
    command(out.with_suffix(".txt"), "run", recipe, "--out", out, "--only", "cd")


@pytest.mark.long
def test_a_killed_run_of_an_adapter_ends_with_the_same_bits(tmp_path):
    path, (whole, broken) = tmp_path / "adapted.yaml", (tmp_path / "whole", tmp_path / "broken")
    path.write_text(RECIPE)

    def launch(target, *words):
        process = fork(target, *words)
        process.join(600)
        return process.exitcode

    for out in (whole, broken):
        assert launch(command, out.with_suffix(".txt"), "run", path, "--out", out, "--only", "teacher") == 0
    assert launch(command, whole.with_suffix(".txt"), "run", path, "--out", whole, "--only", "cd") == 0
    assert launch(killed, path, broken) == -signal.SIGKILL
    assert not (broken / "cd/fastdiff.json").exists()
    assert launch(command, broken.with_suffix(".txt"), "run", path, "--out", broken, "--only", "cd") == 0
    for name in (
        "mlp/diffusion_pytorch_model.safetensors",
        "lora/adapter_model.safetensors",
        "lora/adapter_config.json",
        "state/00000020/tensors.safetensors",
        "log.jsonl",
    ):
        assert (whole / "cd" / name).read_bytes() == (broken / "cd" / name).read_bytes(), name
    small, large = (
        os.path.getsize(whole / stage / "state/00000020/tensors.safetensors") for stage in ("cd", "teacher")
    )
    assert small < large / 2
    launch(command, whole.with_suffix(".txt"), "run", path, "--out", whole, "--only", "meanflow")
    assert "train.lora: meanflow adds an input to the network" in whole.with_suffix(".txt").read_text()
