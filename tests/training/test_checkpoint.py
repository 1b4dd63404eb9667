"""What a training resumes from: all that changes, and states that survive damage."""

import json
import os

import pytest
import torch

from fastdiff.methods.base import Importance
from fastdiff.methods.denoising import Denoising
from fastdiff.training.checkpoint import load_state, save_state, states
from tests.helpers.tiny_training import Duel, finish, tiny, training

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- roles


@pytest.mark.parametrize(
    "method", [Duel, lambda: Denoising(Importance(bins=4))], ids=["two roles", "a memory"]
)
def test_all_that_changes_is_saved_and_restored(tmp_path, method):
    whole, broken = (training(tmp_path / name, method(), log_every=3) for name in "ab")
    finish(whole)
    for step, _ in broken:
        if step == 13:  # three steps after the last state, one after a line
            break
    resumed = training(tmp_path / "b", method(), student=tiny(9), log_every=3)
    assert (resumed.step, resumed.images) == (10, broken.images * 10 // 13)
    finish(resumed)
    assert set(whole.tensors()) == set(resumed.tensors()) > {"ema.net.first.weight"}
    assert all(torch.equal(v, resumed.tensors()[k]) for k, v in whole.tensors().items())
    assert (tmp_path / "a/log.jsonl").read_text() == (tmp_path / "b/log.jsonl").read_text()


def test_states_keep_their_names_and_older_ones_lack_some(tmp_path):
    """A state of before skips, coverage, streams and the newest figures were saved."""
    whole = training(tmp_path / "whole", Duel(), log_every=2)
    finish(whole)
    for step, _ in training(tmp_path / "older", Duel(), log_every=2):
        if step == 10:
            break
    state = states(tmp_path / "older/state")[-1]
    record = json.loads((state / "state.json").read_text())
    assert set(record) == {
        *("step", "sha256", "images", "seconds", "scaler"),
        *("skipped", "row", "coverages", "aucs", "data", "figures"),
    }
    names = set(load_state(tmp_path / "older/state")[0])
    assert {"student.net.first.weight", "discriminator.bias", "slow.net.first.weight"} < names
    assert {"ema.net.first.weight", "optimizer.student.0.exp_avg", "optimizer.discriminator.1.step"} < names
    for added in ("skipped", "row", "coverages", "aucs", "data", "figures"):
        del record[added]
    (state / "state.json").write_text(json.dumps(record))
    resumed = training(tmp_path / "older", Duel(), student=tiny(9), log_every=2)
    assert resumed.step == 10 and (resumed.health.skipped, resumed.health.consecutive_skips) == (0, 0)
    finish(resumed)
    assert all(torch.equal(value, resumed.tensors()[name]) for name, value in whole.tensors().items())


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
