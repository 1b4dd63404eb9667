"""Signals: a run saves and stops, saves and goes on, or ends at once; on one process and on two."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fastdiff.core.errors import Interrupted
from fastdiff.training.checkpoint import load_state, states
from fastdiff.training.signals import REPEAT_SECONDS, handle_signals
from tests.helpers.forks import command, fork

RECIPE = """
name: told
data: {name: toy, n: 500}
model: {net: {name: mlp, width: 16, depth: 1}, schedule: flow, predicts: velocity}
train: {steps: 700, batch: 64, save_every: 650, log_every: 25, ema: 0.9}
stages:
  teacher: {method: denoising}
bench: {steps: [1], baselines: [], n: 64}
"""
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
LAST = "teacher/state/00000700/tensors.safetensors"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("signals") / "told.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def unbroken(recipe):
    """The folder of a run that nobody disturbed."""
    out = recipe.parent / "unbroken"
    assert wait(begin(recipe, out), out)[0] == 0
    return out


def launch(recipe, out, *launcher):
    """A run under a launcher, as a command."""
    words = [sys.executable, *launcher, "-m", "fastdiff", "run", recipe, "--out", out]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def begin(recipe, out, *overrides):
    """The same by itself, in a process that has the imports behind it."""
    return fork(command, said(out), "run", recipe, "--out", out, *overrides)


def said(out):
    """Where a forked run writes what it prints."""
    return out.with_suffix(".txt")


def wait(process, out=None):
    """Exit code, and what was printed."""
    if out is None:
        printed = "".join(process.communicate(timeout=300))
        return process.returncode, printed
    process.join(300)
    return process.exitcode, said(out).read_text()


def at_step(out, step):
    """Returns when the log has come so far."""
    log = out / "teacher/log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and f'"step": {step},' in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_stop_saves_and_goes_on_bit_for_bit(recipe, unbroken, tmp_path, number):
    out = tmp_path / "out"
    process = begin(recipe, out)
    at_step(out, 100)
    os.kill(process.pid, number)
    code, printed = wait(process, out)
    assert code == 75, printed
    told = re.search(
        rf"\nfastdiff: stopped by {number.name} and saved at step (\d+) of 700 in .*/teacher: "
        r"run the same command again to resume\n$",
        printed,
    )
    assert told and [int(state.name) for state in states(out / "teacher/state")] == [int(told[1])]
    assert wait(begin(recipe, out), out)[0] == 0
    for name in (LAST, "teacher/log.jsonl"):
        assert (out / name).read_bytes() == (unbroken / name).read_bytes(), name


@pytest.mark.long
def test_a_run_that_is_told_to_save_goes_on(recipe, unbroken, tmp_path):
    out = tmp_path / "out"
    process = begin(recipe, out)
    for step in (100, 200):
        at_step(out, step)
        os.kill(process.pid, signal.SIGUSR1)
    at_step(out, 400)
    saved = [int(state.name) for state in states(out / "teacher/state")]
    assert len(saved) == 2 and all(100 <= step < 400 for step in saved), saved
    assert wait(process, out)[0] == 0
    assert (out / LAST).read_bytes() == (unbroken / LAST).read_bytes()


@pytest.mark.long
def test_two_processes_agree_to_stop_and_one_goes_on(recipe, unbroken, tmp_path):
    """The launcher passes the signal on to both; the second of the two is not taken for another."""
    out = tmp_path / "out"
    process = launch(recipe, out, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    at_step(out, 100)
    process.send_signal(signal.SIGTERM)
    code, printed = wait(process)
    assert code != 0 and "stopped by SIGTERM and saved at step" in printed, printed
    [step] = [int(state.name) for state in states(out / "teacher/state")]
    assert 100 <= step < 650
    assert wait(begin(recipe, out), out)[0] == 0
    one, two = (load_file(folder / LAST) for folder in (unbroken, out))
    assert (
        max(float((one[k] - two[k]).abs().max()) for k in one) < 1e-3
    )  # two sum in another order, 700 times


@pytest.mark.long
def test_when_a_process_dies_its_kin_ends_and_the_state_before_holds(recipe, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "often.yaml").write_text(RECIPE.replace("save_every: 650", "save_every: 50"))
    process = launch(
        tmp_path / "often.yaml", out, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"
    )
    at_step(out, 100)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGKILL)
    assert wait(process)[0] != 0
    _, record = load_state(out / "teacher/state")
    assert record["step"] >= 50 and record["step"] % 50 == 0
    process = begin(tmp_path / "often.yaml", out)
    while int(states(out / "teacher/state")[-1].name) == record["step"]:
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    assert wait(process, out)[0] == 75


WAIT = """
import time
from fastdiff.training.signals import handle_signals
with handle_signals() as signals:
    with {heeds}:
        print("here", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize(
    ("heeds", "again", "code"),
    [("signals.polling()", True, -signal.SIGTERM), ("open('/dev/null')", False, 75)],
    ids=["a second one", "unheeded"],
)
def test_an_end_that_cannot_wait(heeds, again, code):
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT.format(heeds=heeds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGTERM)
    if again:
        time.sleep(REPEAT_SECONDS / 4)
        process.send_signal(signal.SIGTERM)  # so soon it is the same
        time.sleep(2 * REPEAT_SECONDS)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    assert process.wait(5) == code


def test_what_comes_too_late_to_be_seen_holds_at_the_end():
    with (
        pytest.raises(Interrupted, match="stopped by SIGTERM") as caught,
        handle_signals() as signals,
        signals.polling(),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 75


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    with handle_signals() as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.save and not signals.stop
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


@pytest.mark.long
def test_settings_of_how_a_run_goes_may_change(recipe, unbroken, tmp_path):
    """Saved where the first run was stopped, finished in parts and with other saves;
    what comes of it may not change."""
    out = tmp_path / "out"
    process = begin(recipe, out)
    at_step(out, 100)
    os.kill(process.pid, signal.SIGTERM)
    assert wait(process, out)[0] == 75
    code, printed = wait(begin(recipe, out, "train.lr=0.5"), out)
    assert code == 2 and "was made with train.lr = 0.001, and the recipe now has 0.5" in printed
    code, printed = wait(
        begin(recipe, out, "train.gradient_accumulation=2", "train.save_every=500", "train.keep_last=1"), out
    )
    assert code == 0, printed
    assert [state.name for state in states(out / "teacher/state")] == ["00000700"]
    one, two = (load_file(folder / LAST) for folder in (unbroken, out))
    assert max(float((one[k] - two[k]).abs().max()) for k in one) < 1e-3
    lines = [json.loads(line) for line in (out / "teacher/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(25, 701, 25)) and torch.isfinite(
        torch.tensor(lines[-1]["loss"])
    )
