"""Several networks in one run: what is frozen stays so, a collapse is told everywhere, and a line needs no loss."""

import json
from dataclasses import dataclass

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from fastdiff.data.toys import toy
from fastdiff.io.export.model import export
from fastdiff.io.load import load
from fastdiff.io.metadata import about
from fastdiff.methods import METHODS, Progress
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from fastdiff.runs.stage import told
from fastdiff.runs.status import status
from fastdiff.training.config import TrainConfig
from fastdiff.training.loop import Training
from tests.helpers.trainings import Duel, made

pytestmark = pytest.mark.usefixtures("one_thread")


def source(**stage):
    """A recipe of one stage of points."""
    return {
        "name": "tiny",
        "data": {"name": "toy", "n": 64},
        "model": {"net": {"name": "mlp", "width": 8, "depth": 1}},
        "train": {"steps": 12, "batch": 8, "log_every": 1},
        "stages": {"student": stage},
        "bench": {"steps": [1], "baselines": [], "n": 8},
    }


# ---- frozen networks


def test_what_is_frozen_has_no_gradient_no_optimizer_and_no_place_in_the_state(tmp_path):
    """Three networks that learn, two averages and a teacher; and in a turn no other role gets a gradient."""
    config = TrainConfig(steps=4, batch=16, save_every=3)
    run = Training(Duel(), Progress, made(0), made(1), toy(n=64), config, tmp_path, Accelerator(cpu=True))
    assert set(run.frozen) == {"teacher", "ema", "slow"}
    assert set(run.roles) == set(run.trained) == {"student", "critic", "fake"}
    reached, loss = [], run.method.loss
    clipped = {name: role.clipped for name, role in run.roles.items()}

    def watched(turn, nets, batch, progress):
        answer = loss(turn, nets, batch, progress)
        reached.append((turn, set()))
        return answer

    run.method.loss = watched
    for name, role in run.roles.items():
        role.clipped = lambda name=name: (
            reached[-1][1].update(
                other for other, one in run.roles.items() if any(p.grad is not None for p in one.weights)
            ),
            clipped[name](),
        )[1]
    for _ in run:
        for net in run.frozen.values():
            assert all(p.grad is None and not p.requires_grad for p in net.parameters())
    assert reached == [(turn, set(turn)) for turn in (("critic", "fake"), ("student",))] * 4
    for name, net in run.trained.items():
        held = {id(p) for group in run.roles[name].optimizer.param_groups for p in group["params"]}
        assert held == {id(p) for p in net.parameters()} == {id(p) for p in run.roles[name].optimizer.state}
    saved = load_file(tmp_path / "state/00000004/tensors.safetensors")
    parts = {name.removeprefix("optimizer.").partition(".")[0] for name in saved}
    assert parts == {"student", "critic", "fake", "ema", "slow"}
    teacher = {p.detach().numpy().tobytes() for p in run.frozen["teacher"].parameters() if p.ndim > 1}
    assert teacher and not teacher & {value.numpy().tobytes() for value in saved.values()}


# ---- collapse


@dataclass
class Fading(Duel):
    """A duel whose student learns in every second step, and whose samples are said to cover ever less."""

    best: float = 1.0

    def turns(self, progress):
        return super().turns(progress)[: 1 + progress.step % 2]

    def loss(self, turn, nets, batch, progress):
        loss, _ = super().loss(turn, nets, batch, progress)
        return loss, {
            "coverage": torch.tensor(self.best - 0.75 * progress.fraction)
        } if "student" in turn else {}


def test_a_collapsed_run_says_so_everywhere(tmp_path, monkeypatch, capsys, fastdiff):
    monkeypatch.setitem(METHODS, "fading", Fading)
    export(made(1), tmp_path / "teacher", {})
    runs = {}
    for name, best in (("well", 1.3), ("ill", 0.9)):
        stage = {"method": {"name": "fading", "best": best}, "teacher": str(tmp_path / "teacher")}
        runs[name] = stages.run(recipe.build(source(**stage)), tmp_path / name)
    printed = capsys.readouterr().out
    lines = [json.loads(line) for line in (runs["ill"] / "student/log.jsonl").read_text().splitlines()]
    assert "loss" not in lines[0] and all("loss" in line for line in lines[1:])
    late = sorted(line["coverage"] for line in lines if line["step"] > 6)
    share = (late[2] + late[3]) / 2
    assert 0.25 < share < 0.45 and about(runs["ill"] / "student")["collapsed"] == pytest.approx(share)
    sentence = f"its samples cover {share:.0%} of the data"
    assert printed.count(f"student: collapsed, {sentence}\n") == 1 == printed.count(": collapsed")
    assert f"Its training collapsed: {sentence}." in (runs["ill"] / "student/README.md").read_text()
    assert status(runs["ill"])["collapsed"] == {"student": pytest.approx(share)}
    assert "collapsed" not in about(runs["well"] / "student") and not status(runs["well"])["collapsed"]
    assert "collapsed" not in (runs["well"] / "student/README.md").read_text()
    assert fastdiff("export", runs["ill"] / "student", "--out", tmp_path / "copy")[0] == 0
    assert sentence in (tmp_path / "copy/README.md").read_text() and load(tmp_path / "copy").shape == (2,)


def test_a_line_is_told_without_a_loss_and_with_a_collapse():
    pace = {"images_per_s": 1234.5, "wait": 0.0, "memory_mb": 1.0}
    assert told({"lr": 1.0}, pace, None).startswith("loss –, 1,23")
    assert "loss 0.5, " in told({"loss": 0.5}, pace, 0.314) and told({}, pace, 0.314).endswith(
        ", COLLAPSED: 31% of the data covered"
    )
