"""Running averages of a student: the exported one by its ramp, and how far targets are behind."""

from dataclasses import dataclass

import pytest
import torch

from fastdiff.core import ema
from fastdiff.methods import Progress
from fastdiff.methods.denoising import Denoising
from fastdiff.training.averages import Averages
from tests.helpers.tiny_training import finish, log_of, tiny, training, weights

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_averages_move_by_their_own_decays_and_come_back_from_their_state():
    student, decays = tiny(), {"slow": lambda progress: 0.5 + progress.fraction / 2}
    averages = Averages(student, 0.0, decays)
    before = weights(student)
    with torch.no_grad():
        for p in student.parameters():
            p.add_(1.0)
    averages.update(student, 1, Progress(5, 10, 0))
    moved = {role: (weights(net) - before).unique() for role, net in averages.nets().items()}
    torch.testing.assert_close(moved["ema"], torch.ones_like(moved["ema"]))
    torch.testing.assert_close(moved["slow"], torch.full_like(moved["slow"], 0.25))
    torch.testing.assert_close(
        averages.drifts(student)["drift"], 0.75 * len(before) ** 0.5 / weights(student).norm()
    )
    other = Averages(tiny(9), 0.0, decays)
    other.load_state_dict(averages.state_dict() | {"student.net.first.weight": torch.zeros(1)})
    for role, net in averages.nets().items():
        assert torch.equal(weights(net), weights(other.nets()[role])) and not net.training


def test_what_is_not_trained_is_no_part_of_the_state():
    averages = Averages(tiny(), 0.9, {}, untrained={"net.first.weight"})
    assert (
        "ema.net.first.weight" not in averages.state_dict() and "ema.net.first.bias" in averages.state_dict()
    )
