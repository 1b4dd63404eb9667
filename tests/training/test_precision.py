"""Arithmetic of a training: half precision, and scaled losses."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from fastdiff.core.errors import FastdiffError
from fastdiff.methods import METHODS, Progress
from fastdiff.methods.denoising import Denoising
from fastdiff.networks import MLP
from fastdiff.training.loop import TrainConfig, Training
from tests.helpers.tiny_training import DATA, Duel, Ill, Spoilt, finish, log_of, tiny, training, weights

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- arithmetic


@pytest.fixture
def precise():
    """Makes an accelerator of a precision; each process has one precision, which is taken back."""

    def make(precision):
        AcceleratorState._reset_state(True)
        return Accelerator(cpu=True, mixed_precision=precision)

    yield make
    AcceleratorState._reset_state(True)


@pytest.mark.parametrize("name", ["scd", "meanflow"])
def test_derivatives_stay_in_float32_where_the_network_is_in_bf16(tmp_path, precise, monkeypatch, name):
    seen = []
    embed = MLP.time_embedding
    monkeypatch.setattr(
        MLP,
        "time_embedding",
        lambda self, t: seen.append(self.last(torch.zeros(1, 16)).dtype) or embed(self, t),
    )
    method = METHODS[name]()
    config = TrainConfig(steps=3, batch=32, save_every=3, log_every=3)
    run = Training(method, Progress, method.student(tiny()), tiny(1), DATA, config, tmp_path, precise("bf16"))
    assert not {"forward", "_original_forward"} & set(vars(run.student))  # as accelerate would leave it
    finish(run)
    assert {torch.float32, torch.bfloat16} == set(seen) and all(
        line["loss"] is not None for line in log_of(tmp_path)
    )


def scaled(folder, method, **settings):
    """A training with a scaler, as fp16 has one."""
    run = training(folder, method, **settings)
    run.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    return run


def test_a_scaler_serves_two_roles_of_a_turn(tmp_path):
    unscaled = training(tmp_path / "plain", Duel(both=True), steps=6)
    finish(unscaled)
    run = scaled(tmp_path / "scaled", Duel(both=True), steps=6)
    try:
        finish(run)
    finally:
        run.accelerator.scaler = None
    assert (weights(run.student) - weights(unscaled.student)).abs().max() < 1e-5


def test_what_a_scaler_skips_moves_nothing_and_without_end_stops(tmp_path):
    run = scaled(tmp_path / "two", Ill(at=(3, 4)), max_skips=3, log_every=1, steps=6)
    before = {}
    try:
        for step, _ in run:
            before[step] = weights(run.student).clone(), weights(run.average).clone()
    finally:
        run.accelerator.scaler = None
    still = [all(map(torch.equal, before[step], before[step - 1])) for step in range(2, 7)]
    assert still == [False, True, True, False, False]
    run = scaled(tmp_path / "none", Ill(at=(3,)), steps=6)
    try:
        with pytest.raises(FastdiffError, match="loss: not finite at step 3"):  # where none may be skipped
            finish(run)
    finally:
        run.accelerator.scaler = None
    run = scaled(tmp_path / "ever", Spoilt(how="gradient", at=0), steps=200)
    run.method.loss = lambda turn, nets, batch, progress, loss=Denoising.loss: (
        loss(run.method, turn, nets, batch, progress)[0]
        + (0 * sum(p.sum() for p in nets["student"].parameters())).square().sqrt(),
        {},
    )
    try:
        with pytest.raises(FastdiffError, match="grad: not finite at step 45, as in the 40 before.*bf16"):
            finish(run)
    finally:
        run.accelerator.scaler = None
