"""Lines of a training: the newest figures, the pace beside them, and a log cut by a kill."""

import json
import math
from dataclasses import dataclass

import pytest
import torch

from tests.helpers.tiny_training import Duel, finish, log_of, tiny, training

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- roles


@dataclass
class Seldom(Duel):
    """A duel in which the student learns in every third step only."""

    def turns(self, progress):
        return (("discriminator",), ("student",)) if (progress.step + 1) % 3 == 0 else (("discriminator",),)

    def loss(self, turn, nets, batch, progress):
        loss, logs = super().loss(turn, nets, batch, progress)
        return loss, logs | ({"odd": 0 * loss.detach() + math.nan if progress.step < 7 else loss.detach()})


@pytest.mark.parametrize("saved", [4, 5, 7])
def test_a_line_has_the_newest_of_every_figure_though_a_state_was_saved_within_a_cycle(tmp_path, saved):
    settings = {"steps": 13, "log_every": 2, "save_every": saved, "ema": 0.5}
    whole = training(tmp_path / "a", Seldom(), **settings)
    seen = {step: {name: float(value) for name, value in whole.figures.items()} for step, _ in whole}
    assert "loss" not in seen[2] and seen[3]["loss"] == seen[4]["loss"] == seen[5]["loss"] != seen[6]["loss"]
    lines = log_of(tmp_path / "a")
    assert "loss" not in lines[0] and "discriminator/loss" in lines[0]
    for line in lines[1:]:
        own = {name: value for name, value in seen[line["step"]].items() if math.isfinite(value)}
        assert {"loss", "value", "discriminator/loss"} <= set(own) and own.items() <= line.items()
        assert (line["odd"] is None) == (line["step"] < 9)
    for step, _ in training(tmp_path / "b", Seldom(), **settings):
        if step == saved + 1:
            break
    resumed = training(tmp_path / "b", Seldom(), student=tiny(9), **settings)
    assert resumed.step == saved
    finish(resumed)
    assert (tmp_path / "a/log.jsonl").read_text() == (tmp_path / "b/log.jsonl").read_text()
    assert all(torch.equal(v, resumed.tensors()[k]) for k, v in whole.tensors().items())


# ---- memory


def test_the_pace_is_told_beside_the_log(tmp_path):
    run = training(tmp_path, steps=20, log_every=5)
    finish(run)
    lines = [json.loads(line) for line in (tmp_path / "pace.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 15, 20] and all(
        line["images_per_s"] > 0 for line in lines
    )
    assert (
        all(0 <= line["wait"] <= 1 and line["memory_mb"] > 10 for line in lines)
        and run.pace.items() <= lines[-1].items()
    )


def test_a_log_cut_by_a_kill_goes_on_from_the_state(tmp_path):
    finish(training(tmp_path, steps=20))
    whole = (tmp_path / "log.jsonl").read_text()
    for damage in (whole[:-9], whole + '{"step": 25, "ima', whole.splitlines()[0] + "\n"):
        (tmp_path / "log.jsonl").write_text(damage)
        run = training(tmp_path, steps=20)
        assert run.step == 20 and finish(run) == []
        assert [line["step"] for line in log_of(tmp_path)] == list(range(5, 5 * damage.count("\n") + 1, 5))
