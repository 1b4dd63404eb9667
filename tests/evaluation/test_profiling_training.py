"""The rest of a step is a small part of it; ratios of one run, never times."""

import json
import time

import pytest
import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.network import Network
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import Cosine
from fastdiff.evaluation.profiling import timer as clock
from fastdiff.evaluation.profiling.training import cost, distinct_methods, speed
from fastdiff.networks import mlp, unet
from tests.helpers.passes import made
from tests.helpers.paths import ROOT

pytestmark = [pytest.mark.alone, pytest.mark.long]


class Sleeper(Network):
    """Sleeps in every pass, and so long that nothing else counts."""

    null_label = None

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x, t, s=None, cond=None):
        time.sleep(0.03)
        return self.weight * x


def test_what_a_step_does_besides_is_in_the_ratio(monkeypatch):
    """Of a step with one more pass's time than its two passes."""
    model, ect = Denoiser(Sleeper(), Cosine(), "v", (2,)), made("ect")
    monkeypatch.setattr(clock, "processor_alone", lambda: False)  # sleep is no work of the processor's
    assert 1 <= cost(ect, model, 8, 3)["over_parts"] < 1.25
    loss = ect.loss
    ect.loss = lambda *given: (time.sleep(0.03), loss(*given))[1]
    assert 1.4 < cost(ect, model, 8, 3)["over_parts"] < 1.75


def test_every_repetition_is_the_same_step(points, tmp_path):
    """What ctm and shortcut draw of it, too."""
    for name in ("ctm", "shortcut"):
        row = cost(made(name), points, 8, 1)
        assert row["parts"] == cost(made(name), points, 8, 1)["parts"]


def test_every_method_has_a_row_or_a_reason(points, monkeypatch):
    monkeypatch.setattr("fastdiff.evaluation.profiling.training.MIN_PASS_SECONDS", 0.0)
    points.sampling = Sampling("ddim", "uniform", (4,))
    rows = {row["method"]: row for row in speed(points, repeats=1)}
    assert (
        list(rows) == distinct_methods() and {"ect", "ctm", "kd"} <= set(rows) and "consistency" not in rows
    )
    left = {name for name, row in rows.items() if "left_out" in row}
    assert left == {"guided", "lcm", "tcd", "pcm"}
    assert all("labels" in rows[name]["left_out"] for name in left)  # points have none
    for name in set(rows) - left:
        assert rows[name]["over_parts"] == pytest.approx(rows[name]["step_ms"] / rows[name]["parts_ms"]), name


def test_a_model_that_a_method_cannot_train_is_left_out(monkeypatch):
    monkeypatch.setattr("fastdiff.evaluation.profiling.training.MIN_PASS_SECONDS", 0.0)
    model = Denoiser(mlp((2,), width=16, depth=1), Cosine(), "eps", (2,))
    (row,) = speed(model, ("ect",), repeats=1)
    assert "choose v, velocity or edm" in row["left_out"]


def test_the_command_prints_and_writes_rows(fastdiff, refused, tmp_path, monkeypatch):
    monkeypatch.setattr("fastdiff.evaluation.profiling.training.MIN_PASS_SECONDS", 0.0)
    teacher = ROOT / "checkpoints/digits/teacher"
    words = ["bench", teacher, "--speed", "--training", "--methods", "ect,meanflow[differences=0.03],guided"]
    code, out, err = fastdiff(*words, "--out", tmp_path / "s")
    assert (
        code == 0 and "1 student fwd+bwd 16" in out and "2 student fwd 16" in out and "ms of its parts" in out
    )
    assert "guided was skipped: guidance needs a model with labels" in err
    rows = [json.loads(line) for line in (tmp_path / "s/speed.jsonl").read_text().splitlines()]
    assert [row["method"] for row in rows] == ["ect", "meanflow[differences=0.03]", "guided"]
    assert all("commit" in row and "versions" in row for row in rows) and rows[0]["over_parts"] > 0.5
    assert "ctn" in refused("bench", teacher, "--speed", "--training", "--methods", "ctn", "--out", tmp_path)
    assert "--speed" in refused("bench", teacher, "--training", "--out", tmp_path)
    assert "--speed" in refused("bench", teacher, "--speed", "--methods", "ect", "--out", tmp_path)


def test_a_step_takes_the_time_of_its_passes():
    """Of a network of 50 ms a pass: data, loss, clipping, optimizer and average are less than a twelfth."""
    torch.manual_seed(0)
    net = unet((1, 8, 8), channels=(32, 64), layers=1)
    model = Denoiser(net, Cosine(), "v", (1, 8, 8))
    for name in ("ect", "meanflow"):
        found = []
        while len(found) < 4 and min(found, default=2) > 1.08:
            found += [row["over_parts"] for row in speed(model, (name,), repeats=4)]
        assert min(found) <= 1.08, (name, found)
