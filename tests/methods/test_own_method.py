"""The method that fastdiff/methods/README.md teaches to write: it trains, it samples, its loss is right."""

import pytest
import torch

import fastdiff
from fastdiff.core.broadcast import like
from fastdiff.core.schedule import Cosine, Flow
from fastdiff.evaluation.rows import read_rows
from fastdiff.io.load import read_metadata
from fastdiff.methods import METHODS
from fastdiff.methods.progressive import implied_x0
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from tests.helpers.documents import Page
from tests.helpers.oracles import batch_of, told

PAGE = Page("fastdiff/methods/README.md")


@pytest.fixture
def tract(monkeypatch):
    """The page's method, registered as it says."""
    namespace = {"__name__": "tract"}
    [block] = [block for block in PAGE.blocks("python") if "class TRACT" in block]
    exec(compile(block, PAGE.name, "exec"), namespace)
    monkeypatch.setitem(METHODS, "tract", namespace["TRACT"])
    return namespace["TRACT"]


@pytest.mark.long
def test_the_method_and_its_recipe_train_and_sample(tract, tmp_path):
    [block] = [block for block in PAGE.blocks("yaml") if "name: my-tract" in block]
    (tmp_path / "my-tract.yaml").write_text(block)
    folder = stages.run(recipe.load(tmp_path / "my-tract.yaml"), tmp_path / "run")
    energy = {(row["model"], row["steps"]): row["energy"] for row in read_rows(folder / "bench.jsonl")}
    assert energy["tract-8", 8] < energy["teacher", 8] and energy["tract-1", 1] < 0.05 * energy["teacher", 1]
    student = fastdiff.load(folder / "tract-1")
    assert fastdiff.sample(student, n=16).shape == (16, 2) and student.sampling.only
    assert read_metadata(folder / "tract-1")["cost"]["teacher_nfe"] == 400 * 256
    assert "error_high" in (folder / "tract-1/log.jsonl").read_text()


@pytest.mark.parametrize("schedule", [Flow(), Cosine()], ids=["flow", "cosine"])
def test_the_method_has_no_loss_where_jumps_compose(tract, schedule):
    """Data of one point, or a Gaussian's exact jumps as teacher, target and student."""
    size = 0.5

    def std(t):
        alpha, sigma = schedule.alpha_sigma(t)
        return ((size * alpha) ** 2 + sigma**2).sqrt()

    def exact(x, t, s):  # the x0 with which DDIM lands on the trajectory at s
        return implied_x0(schedule, x, t, like(std(s) / std(t), x) * x, s)

    method, x0 = tract(steps=2, group=4), torch.randn(512, 2, dtype=torch.float64)
    right, wrong = (
        told(lambda x, t, s, k=k: exact(x, t, torch.where(t > s, s, t / 2)) * k, schedule, "x0")
        for k in (1.0, 1.1)
    )
    for student, low, high in ((right, 0, 1e-20), (wrong, 1e-3, 1)):
        loss, _ = method.loss(
            ("student",), {"student": student, "target": right, "teacher": right}, batch_of(x0), None
        )
        assert low <= loss < high
    (_, t, s, _), *_ = wrong.net.asked
    assert (
        set((t * 8).tolist()) == set(range(1, 9)) and set(s.tolist()) == {0.0, 0.5} and (t - s <= 0.5).all()
    )
