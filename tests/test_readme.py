"""The README's code blocks run, and its commands exist."""

import re
import shlex
from pathlib import Path

import pytest
import torch

import fastdiff
from fastdiff.cli import app as cli
from fastdiff.core.broadcast import like
from fastdiff.core.schedule import Cosine, Flow
from fastdiff.evaluation.rows import read_rows
from fastdiff.io.load import read_metadata
from fastdiff.methods import METHODS
from fastdiff.methods.progressive import implied
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from tests.helpers.oracles import batch_of, told
from tests.helpers.paths import ROOT

TEXT = (ROOT / "README.md").read_text()


PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.S)


COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", TEXT, re.S)
    for line in block.splitlines()
    if line.startswith("fastdiff ")
]


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """A working directory with the shipped checkpoints and recipes in it."""
    for name in ("checkpoints", "recipes"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_python_block(block, clone):
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[1] in ("sample", "list", "export")])
def test_quick_command(command, clone, monkeypatch):
    monkeypatch.setattr("sys.argv", shlex.split(command))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    if "--out" in command:
        assert (clone / command.split("--out ")[1].split()[0]).exists()


def test_recipes_named_exist():
    for name in re.findall(r"recipes/[\w-]+\.yaml", TEXT):
        assert (ROOT / name).exists() or "my" in name, name


def test_no_command_is_missing_from_the_readme():
    assert {c.split()[1] for c in COMMANDS} == {verb.name for verb in cli.app.registered_commands}


@pytest.fixture
def tract(monkeypatch):
    """The section's method, registered as it says."""
    namespace = {"__name__": "tract"}
    [block] = [block for block in PYTHON if "class TRACT" in block]
    exec(compile(block, "README.md", "exec"), namespace)
    monkeypatch.setitem(METHODS, "tract", namespace["TRACT"])
    return namespace["TRACT"]


def test_the_method_and_its_recipe_train_and_sample(tract, tmp_path):
    [block] = re.findall(r"```yaml\n(name: my-tract.*?)```", TEXT, re.S)
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
        return implied(schedule, x, t, like(std(s) / std(t), x) * x, s)

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
