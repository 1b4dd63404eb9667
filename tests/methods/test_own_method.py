"""The method that fastdiff/methods/README.md teaches to write: it trains, it samples, its loss is right."""

import shlex

import pytest
import torch

import fastdiff
from fastdiff.core.broadcast import like
from fastdiff.core.files import sha256
from fastdiff.core.schedule import Cosine, Flow
from fastdiff.evaluation.rows import read_rows
from fastdiff.io.load import read_metadata
from fastdiff.methods import METHODS
from fastdiff.methods.progressive import implied_x0
from fastdiff.runs import recipe
from tests.helpers.commands import command
from tests.helpers.documents import Page
from tests.helpers.oracles import batch_of, told

PAGE = Page("fastdiff/methods/README.md")


@pytest.fixture
def tract(monkeypatch):
    """The page's method."""
    monkeypatch.setitem(
        METHODS, "tract", None
    )  # which the block replaces, and which is removed after the test
    namespace = {"__name__": "tract"}
    exec(compile(block_with("python", "class TRACT"), PAGE.name, "exec"), namespace)
    assert METHODS["tract"] is namespace["TRACT"]
    return namespace["TRACT"]


def block_with(language, text):
    [block] = [block for block in PAGE.blocks(language) if text in block]
    return block


@pytest.mark.long
def test_the_page_runs_as_it_is_printed(tmp_path):
    """Its file, its recipe and its command, in a folder of their own."""
    (tmp_path / "my_method.py").write_text(block_with("python", "class TRACT"))
    (tmp_path / "my.yaml").write_text(block_with("yaml", "name: my-tract"))
    [line] = [line for line in PAGE.commands() if "my_method.py" in line]
    done = command(*shlex.split(line)[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "checkpoints/my-tract"
    energy = {(row["model"], row["steps"]): row["energy"] for row in read_rows(folder / "bench.jsonl")}
    assert energy["tract-8", 8] < energy["teacher", 8] and energy["tract-1", 1] < 0.05 * energy["teacher", 1]
    student = fastdiff.load(folder / "tract-1")
    assert fastdiff.sample(student, n=16).shape == (16, 2) and student.sampling.only
    assert read_metadata(folder / "tract-1")["cost"]["teacher_nfe"] == 400 * 256
    assert "error_high" in (folder / "tract-1/log.jsonl").read_text()
    hashes = {"my_method.py": sha256(tmp_path / "my_method.py")}
    assert read_metadata(folder / "tract-1")["plugins"] == hashes
    assert all(row["plugins"] == hashes for row in read_rows(folder / "bench.jsonl"))


def test_the_recipe_of_the_page_is_valid(tract, tmp_path):
    (tmp_path / "my.yaml").write_text(block_with("yaml", "name: my-tract"))
    names = [stage.name for stage in recipe.load(tmp_path / "my.yaml").stages]
    assert names == ["teacher", "tract-8", "tract-1"]


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
