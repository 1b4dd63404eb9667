"""A collapse and a discriminator at chance are reported everywhere, and a line needs no loss."""

import json
from dataclasses import dataclass

import pytest
import torch

from fastdiff.io.export.model import export
from fastdiff.io.load import load
from fastdiff.io.metadata import read_metadata
from fastdiff.methods import METHODS
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from fastdiff.runs.stage import format_log_line
from fastdiff.runs.status import status
from fastdiff.training.health import Health
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


@dataclass
class Fading(Duel):
    """A duel whose student learns in every second step, and whose samples are said to cover ever less.

    Its discriminator is said to distinguish so much.
    """

    best: float = 1.0
    auc: float = 1.0

    def turns(self, progress):
        return super().turns(progress)[: 1 + progress.step % 2]

    def loss(self, turn, nets, batch, progress):
        loss, _ = super().loss(turn, nets, batch, progress)
        if "student" in turn:
            return loss, {"coverage": torch.tensor(self.best - 0.75 * progress.fraction)}
        return loss, {"discriminator_auc": torch.tensor(self.auc)}


def test_a_collapsed_run_says_so_everywhere(tmp_path, monkeypatch, capsys, fastdiff):
    monkeypatch.setitem(METHODS, "fading", Fading)
    export(made(1), tmp_path / "teacher", {})
    runs = {}
    for name, best, auc in (("well", 1.3, 0.56), ("ill", 0.9, 0.53)):
        method = {"name": "fading", "best": best, "auc": auc}
        stage = {"method": method, "teacher": str(tmp_path / "teacher")}
        runs[name] = stages.run(recipe.build(source(**stage)), tmp_path / name)
    printed = capsys.readouterr().out
    lines = [json.loads(line) for line in (runs["ill"] / "student/log.jsonl").read_text().splitlines()]
    assert "loss" not in lines[0] and all("loss" in line for line in lines[1:])
    late = sorted(line["coverage"] for line in lines if line["step"] > 6)
    share = (late[2] + late[3]) / 2
    assert 0.25 < share < 0.45 and read_metadata(runs["ill"] / "student")["collapsed"] == pytest.approx(share)
    sentence = f"its samples cover {share:.0%} of the data"
    assert printed.count(f"student: collapsed, {sentence}\n") == 1 == printed.count(": collapsed")
    assert f"Its training collapsed: {sentence}." in (runs["ill"] / "student/README.md").read_text()
    assert status(runs["ill"])["collapsed"] == {"student": pytest.approx(share)}
    assert (
        "collapsed" not in read_metadata(runs["well"] / "student") and not status(runs["well"])["collapsed"]
    )
    assert "collapsed" not in (runs["well"] / "student/README.md").read_text()
    # The discriminator at chance, in the same places.
    line = "student: its discriminator is at chance, AUC 0.53\n"
    assert printed.count(line) == 1 == printed.count("discriminator is at")
    guess = "distinguished real from generated samples no better than chance (AUC 0.53)."
    for name, flagged in (("well", {}), ("ill", {"student": pytest.approx(0.53)})):
        assert status(runs[name])["chance_auc"] == flagged
        assert (guess in (runs[name] / "student/README.md").read_text()) == bool(flagged)
    assert read_metadata(runs["ill"] / "student")["chance_auc"] == pytest.approx(0.53)
    assert fastdiff("export", runs["ill"] / "student", "--out", tmp_path / "copy")[0] == 0
    card = (tmp_path / "copy/README.md").read_text()
    assert sentence in card and guess in card and load(tmp_path / "copy").shape == (2,)


def test_a_line_is_told_without_a_loss_and_with_what_is_wrong(tmp_path):
    pace = {"images_per_s": 1234.5, "wait": 0.0, "memory_mb": 1.0}
    health = Health(tmp_path, None, 0, 0, None)
    assert format_log_line({"lr": 1.0}, pace, health).startswith("loss –, 1,23")
    health.record({"coverage": 0.314, "fake+discriminator/discriminator_auc": 0.52}, second_half=True)
    line = format_log_line({"loss": 0.5}, pace, health)
    assert "loss 0.5, " in line
    assert line.endswith(", COLLAPSED: 31% of the data covered, DISCRIMINATOR AT CHANCE: AUC 0.52")
