"""The benchmark of a run: nobody else writes into its directory, and its models are loaded once."""

import pytest

from fastdiff.core.errors import FastdiffError
from fastdiff.evaluation import contestant
from fastdiff.evaluation import sweep as sweeping
from fastdiff.evaluation.lock import lock
from fastdiff.runs import recipe as recipes
from fastdiff.runs import run as runs
from fastdiff.runs.status import status
from tests.helpers.rows import model_rows

RECIPE = {
    "name": "small",
    "data": {"name": "toy", "n": 300},
    "model": {"net": {"name": "mlp", "width": 8, "depth": 1}, "schedule": "flow", "predicts": "velocity"},
    "train": {"steps": 2, "batch": 16, "save_every": 2, "log_every": 2},
    "stages": {"teacher": {"method": "denoising"}},
    "bench": {"steps": [1], "baselines": ["ddim:2"], "n": 16, "seeds": [0, 1]},
}


def test_a_run_holds_its_directory_from_the_first_stage_to_the_report(tmp_path, monkeypatch):
    out, tried = tmp_path / "run", []

    def refused(name):
        """The function, called only after another run was kept out of the directory."""
        plain = getattr(sweeping, name)

        def call(*args, **options):
            with pytest.raises(FastdiffError, match="is being written by"), lock(out):
                pass
            tried.append(name)
            return plain(*args, **options)

        monkeypatch.setattr(sweeping, name, call)

    for name in ("check_fit", "measure", "provenance"):  # before the sweep, and within
        refused(name)
    runs.run(recipes.build(RECIPE), out)
    assert tried == ["check_fit", *["measure", "provenance"] * 4]
    with lock(out):  # and no longer
        assert len(model_rows(out)) == 4 and (out / "report.html").exists()


def test_a_run_loads_each_model_once_for_its_benchmark(tmp_path, monkeypatch):
    loaded = []
    for module in (runs, contestant):
        plain = getattr(module, "load", None)
        monkeypatch.setattr(
            module, "load", lambda *args, plain=plain: loaded.append(args[0]) or plain(*args), raising=False
        )
    runs.run(recipes.build(RECIPE), tmp_path / "run")
    assert loaded == [tmp_path / "run/teacher"]


def test_a_recipe_without_a_benchmark_ends_after_its_training(tmp_path, capsys):
    recipe = recipes.build(RECIPE | {"bench": False})
    assert recipe.bench is None and recipe.held_out() is None
    runs.run(recipe, tmp_path)
    assert (tmp_path / "teacher/fastdiff.json").is_file() and not (tmp_path / "bench.jsonl").exists()
    assert status(tmp_path)["stage"] == "done" and "no benchmark" in capsys.readouterr().out
    runs.run(recipes.build(RECIPE), tmp_path)  # measured later, without a new training
    assert len(model_rows(tmp_path)) == 4
