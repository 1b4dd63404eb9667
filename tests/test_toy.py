"""recipes/toy.yaml, whole: from data to report."""

from pathlib import Path

import pytest

from fastdiff.cli import app as cli
from fastdiff.evaluation.rows import read_rows
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return stages.run(recipe.load(ROOT / "recipes" / "toy.yaml"), tmp_path_factory.mktemp("toy") / "run")


def energy(folder: Path) -> dict[tuple[str, str, int], float]:
    return {(r["model"], r["sampler"], r["steps"]): r["energy"] for r in read_rows(folder / "bench.jsonl")}


def test_students_beat_the_teacher_at_few_steps(folder):
    figures = energy(folder)
    for student, steps, least in (
        ("progressive-1", 1, 30),
        ("progressive-2", 2, 10),
        ("progressive-4", 4, 3),
    ):
        assert figures[student, "ddim", steps] * least < figures["teacher", "ddim", steps]
    for student in ("consistency", "distilled"):
        assert figures[student, "consistency", 1] * 8 < figures["teacher", "ddim", 1]


def test_more_teacher_steps_are_better(folder):
    figures = energy(folder)
    ddim = [figures["teacher", "ddim", k] for k in (1, 2, 4, 8)]
    assert ddim == sorted(ddim, reverse=True) and figures["teacher", "ddpm", 100] < ddim[-1]


def test_everything_is_written(folder):
    for name in ("recipe.yaml", "bench.jsonl", "report.md", "report.html", "quality-nfe.png", "grid.png"):
        assert (folder / name).stat().st_size > 100, name
    for stage in ("teacher", "progressive-8", "progressive-1", "consistency", "distilled"):
        assert (folder / stage / "fastdiff.json").exists() and list(
            (folder / stage / "samples").glob("*.png")
        )
        assert (folder / stage / "log.jsonl").exists() and list((folder / stage / "state").iterdir())


def test_the_same_command_again_only_shows_the_table(folder, monkeypatch, capsys):
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*.safetensors")}
    monkeypatch.setattr(
        "sys.argv", ["fastdiff", "run", str(ROOT / "recipes" / "toy.yaml"), "--out", str(folder)]
    )
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0 and "done" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*.safetensors")}
