"""A training's health: losses that go bad, steps that are skipped."""

import json
from dataclasses import dataclass

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.data.registry import order
from fastdiff.methods.diagnostics import by_level
from fastdiff.training.checkpoint import load_state
from tests.helpers.tiny_training import Duel, Ill, Spoilt, finish, log_of, tiny, training, weights

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("how", "at", "settings", "named"),
    [
        ("loss", 13, {}, "loss, grad"),
        ("loss", 10, {}, "loss, grad"),
        ("gradient", 10, {}, "grad"),
        ("first part", 10, {"gradient_accumulation": 2}, "loss, grad"),
    ],
)
def test_a_bad_loss_stops_at_its_step_and_leaves_the_last_good_state(tmp_path, how, at, settings, named):
    good = training(tmp_path / "good", **settings)
    finish(good)
    with pytest.raises(FastdiffError, match=f"^{named}: not finite at step {at}:.*last good"):
        finish(training(tmp_path / "bad", Spoilt(at=at, how=how), **settings))
    tensors, record = load_state(tmp_path / "bad/state")
    assert record["step"] == (10 if at == 13 else 5)
    assert all(torch.isfinite(v).all() for v in tensors.values())
    assert [line["step"] for line in log_of(tmp_path / "bad")] == list(range(5, record["step"] + 1, 5))
    resumed = training(tmp_path / "bad", student=tiny(9), **settings)
    finish(resumed)
    assert torch.equal(weights(resumed.average), weights(good.average))
    assert (tmp_path / "bad/log.jsonl").read_text() == (tmp_path / "good/log.jsonl").read_text()


@dataclass
class Sick(Duel):
    """A discriminator whose figures go wrong: at step 3 one that is only logged, at step 7 its gradient."""

    mended: bool = False

    def loss(self, turn, nets, batch, progress):
        loss, logs = super().loss(turn, nets, batch, progress)
        nan, step = torch.tensor(float("nan")), progress.step + 1
        if turn == ("discriminator",):
            tangent = by_level(
                "tangent",
                torch.where(torch.arange(3) == 1, nan if step == 3 else 0.5, 1.0),
                torch.tensor([0.1, 0.5, 0.9]),
            )
            logs = logs | tangent | ({} if step % 2 else {"often": loss.detach()})
            if step == 7 and not self.mended:
                loss = loss + (0 * sum(p.sum() for p in nets["discriminator"].parameters())).square().sqrt()
        return loss, logs


def test_the_complaint_names_the_turn_and_what_was_bad_before(tmp_path):
    """A figure that is only logged stops nothing, but it is told; and by its level of noise."""
    with pytest.raises(FastdiffError) as caught:
        finish(training(tmp_path / "sick", Sick()))
    assert str(caught.value).startswith(
        "discriminator/tangent, discriminator/tangent_mid, discriminator/grad: not finite at step 7: "
    )
    assert "\n" not in str(caught.value) and load_state(tmp_path / "sick/state")[1]["step"] == 5
    finish(training(tmp_path / "mended", Sick(mended=True)))
    lines = log_of(tmp_path / "mended")
    assert len(lines) == 4 and all("discriminator/often" in line for line in lines)


def test_bad_steps_are_skipped_and_counted(tmp_path):
    run = training(tmp_path, Ill(at=(4, 5, 9)), max_skips=2, log_every=1, steps=10)
    before = {}
    for step, _ in run:
        before[step] = weights(run.student).clone(), weights(run.average).clone()
    for step in range(2, 11):
        still = all(map(torch.equal, before[step], before[step - 1]))
        assert still == (step in (4, 5, 9)), step
    lines = log_of(tmp_path)
    assert [line["skipped"] for line in lines] == [0, 0, 0, 1, 2, 2, 2, 2, 3, 3]
    assert [line["step"] for line in lines if line["loss"] is None] == [4, 5, 9] and run.images == 320
    _, record = load_state(tmp_path / "state")
    assert record["skipped"] == 3 and record["row"] == 0


def test_too_many_in_a_row_stop_with_the_indices_of_the_batch(tmp_path):
    settings = {"max_skips": 2, "steps": 20, "save_every": 5, "batch": 32}
    with pytest.raises(FastdiffError) as caught:
        finish(training(tmp_path, Ill(at=(3, 6, 7, 8)), **settings))
    record = json.loads((tmp_path / "bad-batch.json").read_text())
    assert record["step"] == 8 and record["positions"] == [7 * 32, 8 * 32]
    assert record["examples"] == order(300, 0, 7 * 32, 32).tolist()
    first = ", ".join(map(str, record["examples"][:8]))
    assert str(caught.value).startswith(
        "grad, loss: not finite at step 8, the 3. step in a row (train.max_skips = 2): "
    )
    assert f"its batch was examples {first}, ..." in str(caught.value)
    tensors, state = load_state(tmp_path / "state")
    assert state["step"] == 5 and all(torch.isfinite(v).all() for v in tensors.values())


def test_skips_in_a_row_are_remembered_over_a_break(tmp_path):
    with pytest.raises(FastdiffError, match="not finite at step 6, the 2"):
        finish(training(tmp_path, Ill(at=(5, 6)), max_skips=1, save_every=5))
    assert load_state(tmp_path / "state")[1]["row"] == 1
    with pytest.raises(FastdiffError, match="not finite at step 6, the 2"):
        finish(training(tmp_path, Ill(at=(5, 6)), max_skips=1, save_every=5))
