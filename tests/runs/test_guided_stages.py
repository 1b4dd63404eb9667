"""Stages of a recipe with guidance as an input: what is learned after them, measured, and refused."""

from copy import deepcopy
from functools import partial

import pytest
import torch
import yaml
from accelerate import Accelerator

from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import usual_guidance
from fastdiff.data.registry import DATASETS
from fastdiff.evaluation import sweep as bench
from fastdiff.evaluation.budget import Budget
from fastdiff.evaluation.profiling.samplers import speed
from fastdiff.io.load import load
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from fastdiff.samplers.generate import sample
from tests.helpers.guided_students import labelled
from tests.helpers.paths import ROOT
from tests.helpers.rows import model_rows

pytestmark = pytest.mark.long

RECIPE = {
    "name": "told",
    "data": {"name": "labelled", "n": 300},
    "model": {"net": {"name": "mlp", "width": 16, "depth": 1}, "labels": True},
    "train": {"steps": 12, "batch": 32, "save_every": 4, "log_every": 4},
    "stages": {
        "teacher": {"method": "denoising"},
        "guided": {"method": {"name": "guided", "weights": [1, 3]}, "teacher": "teacher"},
        "progressive": {"method": {"name": "progressive", "steps": [2, 1]}, "teacher": "guided"},
        "cd": {"method": "cd", "teacher": "guided"},
        "ctm": {"method": "ctm", "teacher": "guided"},
    },
    "bench": {
        "steps": [1, 2],
        "baselines": [],
        "n": 64,
        "seeds": [0],
        "guidance": [1, 2],
        "metrics": ["energy"],
    },
}


STUDENTS = ("guided", "progressive-2", "progressive-1", "cd", "ctm")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("told")
    (folder / "told.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "labelled", labelled)
        return stages.run(folder / "told.yaml", folder / "run")


def test_what_is_learned_after_it_keeps_its_guidance(run):
    assert load(run / "teacher").guidance is None
    for stage in STUDENTS:
        model = load(run / stage)
        assert model.guidance == (1.0, 3.0) and model.two_times == (stage == "ctm")
        assert model.net.guidance[-1].weight.abs().max() > 0
        one, two = (sample(model, n=8, labels=1, guidance=weight) for weight in (1.0, 3.0))
        assert not torch.allclose(one, two)


def test_the_benchmark_counts_one_evaluation_a_step(run):
    nfe = {(row["model"], row["steps"], row["guidance"]): row["nfe"] for row in model_rows(run)}
    for weight in (1, 2):
        assert nfe["teacher", 2, weight] == 2 * weight
        assert [nfe[stage, 2, weight] for stage in ("guided", "progressive-2", "cd", "ctm")] == [2] * 4
        assert nfe["progressive-1", 1, weight] == 1


def test_a_benchmark_beyond_its_range_is_refused_before_the_work(run, tmp_path):
    config = bench.BenchConfig(guidance=(1.0, 5.0), n=64, metrics=("energy",))
    with pytest.raises(
        FastdiffError, match="guidance = 5: the model guided was trained for guidance from 1 to 3"
    ):
        next(bench.sweep({"guided": run / "guided"}, labelled(100), config, tmp_path / "out"))


def test_on_the_command_line(run, fastdiff, refused, tmp_path):
    how = ["sample", run / "progressive-2", "--labels", "1", "--n", "4", "--out", tmp_path / "x.png"]
    assert fastdiff(*how, "--guidance", "3")[0] == 0
    assert "guidance = 4: this model was trained for guidance from 1 to 3" in refused(*how, "--guidance", "4")
    code, out, _ = fastdiff("export", run / "guided", "--out", tmp_path / "copy")
    assert code == 0 and "README.md: The network is fastdiff's own, MLP, which" in out
    assert load(tmp_path / "copy").guidance == (1.0, 3.0)


def test_a_student_that_is_not_told_what_its_teacher_is_told_is_refused(run, monkeypatch):
    monkeypatch.setitem(DATASETS, "labelled", labelled)
    source = deepcopy(RECIPE) | {
        "stages": {"cd": {"method": "cd", "teacher": str(run / "guided"), "init": str(run / "teacher")}}
    }
    with pytest.raises(
        FastdiffError, match="stage cd: .*guided takes a guidance weight as an input, and .*teacher does not"
    ):
        stages.run(recipe.build(source), run.parent / "other")


@pytest.mark.parametrize(
    "stage",
    [{"method": "cd", "teacher": "teacher", "init": "guided"}, {"method": "ect", "init": "guided"}],
    ids=["a teacher not told", "no teacher"],
)
def test_a_student_that_would_forget_what_it_is_told_is_refused(run, monkeypatch, tmp_path, stage):
    monkeypatch.setitem(DATASETS, "labelled", labelled)
    stage = stage | {role: str(run / stage[role]) for role in ("teacher", "init") if role in stage}
    with pytest.raises(
        FastdiffError, match="stage lost: .*guided takes a guidance weight as an input, .* does not"
    ):
        stages.run(recipe.build(deepcopy(RECIPE) | {"stages": {"lost": stage}}), tmp_path / "lost")


def test_weights_that_the_benchmark_lacks_are_told_before_training(run, monkeypatch, tmp_path):
    monkeypatch.setitem(DATASETS, "labelled", labelled)
    stage = {"method": {"name": "guided", "weights": [2, 3]}, "teacher": str(run / "teacher")}
    source = deepcopy(RECIPE) | {"stages": {"late": stage}, "bench": {"guidance": 1}}
    with pytest.raises(
        FastdiffError, match="guidance = 1: the model late was trained for guidance from 2 to 3"
    ):
        stages.run(recipe.build(source), tmp_path / "late")
    assert not (tmp_path / "late" / "late" / "log.jsonl").exists()


def test_the_guidance_that_a_model_is_drawn_with(run):
    model = load(run / "guided")
    assert usual_guidance(model) == 1 and usual_guidance(load(run / "teacher")) == 1
    model.guidance = (2.0, 3.0)
    assert usual_guidance(model) == 2
    [row] = speed(model, ["ddim"], steps=2, repeats=1)
    assert row["nfe"] == 2


def test_a_budget_counts_a_model_s_own_evaluations(tmp_path):
    budget, cell = (
        Budget(60, tmp_path, 1000),
        partial(bench.Cell, sampler="ddim", spacing="uniform", guidance=4.0),
    )
    for model, nfe in (("teacher", 16), ("guided", 8)):
        budget.allows(model, 0, Accelerator(cpu=True))
        budget.spent(cell(model, steps=8), {"ms_per_image": nfe, "nfe": nfe})
    budget.judging = 0
    assert budget.needed(cell("teacher", steps=8)) == pytest.approx(16)
    assert budget.needed(cell("guided", steps=8)) == pytest.approx(8)


def test_the_recipe_of_the_stochastic_variant():
    made = recipe.load(ROOT / "recipes/methods/stochastic.yaml")
    assert [stage.name for stage in made.stages] == [
        f"stochastic-{k}" for k in (16, 8, 4, 2)
    ] and made.model.labels


def test_its_recipe():
    made = recipe.load(ROOT / "recipes/methods/guided.yaml")
    assert [stage.name for stage in made.stages] == [
        "guided",
        *(f"progressive-{k}" for k in (16, 8, 4, 2, 1)),
    ]
    assert (
        made.model.labels
        and made.stages[0].method.weights == (1.0, 4.0)
        and made.bench.guidance == (1.0, 2.0, 4.0)
    )
