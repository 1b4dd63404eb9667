"""The loop: rates, batches in parts, and the average that is exported."""

import math
from dataclasses import dataclass

import pytest
import torch

from fastdiff.core import ema
from fastdiff.core.errors import FastdiffError
from fastdiff.methods.denoising import Denoising
from fastdiff.training.loop import TrainConfig
from tests.helpers.tiny_training import finish, log_of, tiny, training, weights

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- the learning rate


@pytest.mark.parametrize(
    ("decay", "law"),
    [
        ("constant", lambda u: 1.0),
        ("linear", lambda u: 1 - u),
        ("cosine", lambda u: math.cos(math.pi * u / 2) ** 2),
    ],
)
def test_the_rate_warms_up_and_falls(decay, law):
    config = TrainConfig(steps=100, lr=0.2, warmup=9, lr_schedule=decay)
    rates = [config.rate(step) for step in range(101)]
    assert rates[:9] == pytest.approx([0.2 * (k + 1) / 10 * law(k / 100) for k in range(9)])
    assert rates[9:] == pytest.approx([0.2 * law(k / 100) for k in range(9, 101)])
    assert rates[100] == pytest.approx(0.2 if decay == "constant" else 0.0)  # one step after the last
    assert TrainConfig(lr=0.2).rate(0) == 0.2


def test_the_optimizer_takes_the_rate_of_its_step(tmp_path):
    """One SGD-like measure: Adam's first update moves every weight by the rate."""
    student = tiny()
    before = weights(student)
    run = training(tmp_path, student=student, lr=0.01, warmup=3, steps=4, log_every=1, max_grad_norm=1e9)
    iterator = iter(run)
    next(iterator)
    moved = (weights(student) - before).abs()
    assert moved.max() == pytest.approx(0.01 / 4, rel=1e-3)
    list(iterator)
    assert [line["lr"] for line in log_of(tmp_path)] == [0.01 / 4, 0.01 / 2, 0.03 / 4, 0.01]


# ---- one batch in parts


def test_two_halves_are_one_batch(tmp_path):
    runs = [training(tmp_path / str(k), gradient_accumulation=k, steps=10) for k in (1, 2)]
    for run in runs:
        finish(run)
    whole, halves = (weights(run.student) for run in runs)
    assert (whole - halves).abs().max() < 1e-6 < (whole - weights(tiny())).abs().max()
    assert runs[0].images == runs[1].images == 320
    for a, b in zip(*(log_of(tmp_path / str(k)) for k in (1, 2)), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    with pytest.raises(FastdiffError, match=r"train\.batch = 32 .* gradient_accumulation 3 x 1"):
        training(tmp_path, gradient_accumulation=3)


# ---- the exported average


def test_the_average_follows_the_student_by_the_ramp(tmp_path):
    run = training(tmp_path, ema=0.6, steps=12)
    average = weights(run.average)
    for step, _ in run:
        decay = min(0.6, step / (9 + step))  # (1 + n) / (10 + n) after n = step - 1 updates
        assert decay == ema.decay_at(0.6, step - 1)
        average = decay * average + (1 - decay) * weights(run.student)
        torch.testing.assert_close(weights(run.average), average, rtol=1e-5, atol=1e-7)
    assert not run.average.training and run.student.training


def test_without_an_average_the_weights_themselves_are_exported(tmp_path):
    run = training(tmp_path, ema=0.0)
    finish(run)
    assert torch.equal(weights(run.average), weights(run.student))


# ---- health


@dataclass
class Followed(Denoising):
    """Denoising with running averages that nothing asks."""

    roles: tuple[str, ...] = ("slow", "slower")

    def target_emas(self):
        return dict(zip(self.roles, (lambda progress: 0.9, lambda progress: 0.98)))


def test_the_drift_of_a_target_is_how_far_its_weights_are_behind(tmp_path):
    run = training(tmp_path / "two", Followed(), lr=0.01)
    for step, logs in run:
        if step % 5 == 0:
            for role, target in run.targets.items():
                apart = (weights(run.student) - weights(target)).norm() / weights(run.student).norm()
                assert logs[f"{role}/drift"] == pytest.approx(float(apart), rel=1e-5) and apart > 1e-3
    assert logs["slow/drift"] < logs["slower/drift"]
    finish(training(tmp_path / "one", Followed(roles=("slow",)), lr=0.01))
    finish(training(tmp_path / "none"))
    last = log_of(tmp_path / "one")[-1]
    assert last["drift"] == logs["slow/drift"] and "slow/drift" not in last
    assert not any("drift" in line for line in log_of(tmp_path / "none"))
