"""A run on two processes: the same training and figures, one of every line."""

import json

import pytest
import torch
from safetensors.torch import load_file

from fastdiff.evaluation.metric_names import FAMILIES
from fastdiff.evaluation.sweep import sweep
from fastdiff.runs import recipe as recipes
from fastdiff.runs.run import run
from tests.helpers.processes import together
from tests.helpers.rows import model_rows

# Importance sums its memory over processes; 65 samples do not share evenly; one stage accumulates.
RECIPE = """
name: pair
data: {name: toy, n: 500}
model: {net: {name: mlp, width: 16, depth: 1}, schedule: flow, predicts: velocity}
train: {steps: 20, batch: 64, save_every: 10, log_every: 10, ema: 0.9}
stages:
  teacher: {method: {name: denoising, times: {name: importance, bins: 4}}}
  progressive: {method: {name: progressive, steps: 2}, teacher: teacher, train: {gradient_accumulation: 2}}
  cd: {method: cd, teacher: teacher}
bench: {steps: [1, 2], baselines: ["ddpm:4"], n: 65, seeds: [0, 1], batch: 16}
"""


STAGES = ("teacher", "progressive", "cd")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The recipe, the directory of a run on two processes, and what it printed."""
    folder = tmp_path_factory.mktemp("processes")
    path = folder / "pair.yaml"
    path.write_text(RECIPE)
    return (
        recipes.load(path),
        folder / "two",
        together(folder, 2, "fastdiff.cli", "run", path, "--out", folder / "two"),
    )


@pytest.mark.long
def test_two_processes_train_measure_and_report_once(pair):
    recipe, out, printed = pair
    assert printed.count(": done") == 1 and printed.count("1/3 teacher  20/20") == 1
    for name in ("report.html", "report.md", "bench.jsonl", *(f"{stage}/fastdiff.json" for stage in STAGES)):
        assert (out / name).stat().st_size > 0, name
    for stage in STAGES:
        lines = [json.loads(line) for line in (out / stage / "log.jsonl").read_text().splitlines()]
        assert [(line["step"], line["images"]) for line in lines] == [(10, 640), (20, 1280)]
    rows = model_rows(out)
    assert len(rows) == len({row["key"] for row in rows}) == 2 * (3 + 1 + 2)
    assert {row["processes"] for row in rows} == {2}


@pytest.mark.long
def test_training_on_two_processes_follows_the_run_on_one(pair, tmp_path):
    recipe, two, _ = pair
    torch.set_num_threads(1)
    run(recipe, tmp_path / "one")
    for stage in STAGES:
        a, b = (
            load_file(out / stage / "mlp/diffusion_pytorch_model.safetensors")
            for out in (tmp_path / "one", two)
        )
        assert max((a[k] - b[k]).abs().max() for k in a) < 1e-4, stage
    memory = [
        load_file(out / "teacher/state/00000020/tensors.safetensors") for out in (tmp_path / "one", two)
    ]
    assert torch.equal(*(m["memory.count"] for m in memory))
    torch.testing.assert_close(*(m["memory.moment"] for m in memory), rtol=1e-4, atol=0)


@pytest.mark.long
def test_figures_of_two_processes_are_those_of_one(pair, tmp_path):
    recipe, two, _ = pair
    models = {stage: two / stage for stage in STAGES}
    alone = list(sweep(models, recipe.dataset(), recipe.bench, tmp_path, teacher="teacher"))
    for row, own in zip(model_rows(two), alone, strict=True):
        assert row["key"] == own["key"] and row["nfe"] == own["nfe"] and own["processes"] == 1
        figures = [name for name in own if name.partition("_")[0] in FAMILIES]
        assert {"energy", "energy_se", "swd", "precision", "coverage", "nearest"} <= set(figures)
        for name in figures:
            assert row[name] == pytest.approx(own[name], rel=1e-3), name
    for kind in ("samples", "trajectory", "influence"):
        assert {p.name for p in (two / kind).iterdir()} == {p.name for p in (tmp_path / kind).iterdir()}
