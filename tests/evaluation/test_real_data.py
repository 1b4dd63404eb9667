"""Rows of real data: examples that the reference does not contain."""

import json

import pytest
import torch

from fastdiff.core.accelerator import make_accelerator
from fastdiff.core.errors import FastdiffError
from fastdiff.data.registry import Dataset
from fastdiff.evaluation import report
from fastdiff.evaluation.config import BenchConfig
from fastdiff.evaluation.evaluator import Evaluator, folds_by_class
from fastdiff.evaluation.metrics.extractors import Vectors
from fastdiff.evaluation.real_data import DIVISIONS, RealData, spread
from fastdiff.evaluation.rows import read_rows
from fastdiff.evaluation.summary import REAL, real_groups, summary
from fastdiff.evaluation.sweep import Sweep, sweep
from fastdiff.runs import recipe
from tests.helpers.swept import CONFIG, model, stored


def gaussian(n, seed=0, dims=3):
    return Dataset("gaussian", torch.randn(n, dims, generator=torch.Generator().manual_seed(seed)))


def evaluator(data, tmp_path, metrics=("fd",)):
    return Evaluator(data, Vectors(torch.device("cpu")), metrics, tmp_path)


def test_classes_are_chosen_in_their_fractions():
    classes = torch.cat([torch.zeros(600), torch.ones(300), torch.full((100,), 2)]).long()
    for seed in range(3):
        chosen = spread(1000, 100, classes, seed)
        assert len(set(chosen.tolist())) == 100 and (chosen.diff() > 0).all()
        assert (classes[chosen].bincount() - torch.tensor([60, 30, 10])).abs().max() <= 1
        assert len(set(spread(1000, 1000, classes, seed).tolist())) == 1000
    plain = [spread(1000, 500, None, seed) for seed in range(2)]
    assert not torch.equal(*plain) and torch.equal(plain[0], spread(1000, 500, None, 0))


def test_the_frechet_distance_is_that_of_fresh_examples(tmp_path):
    """Halves are scaled to n examples against the whole reference: what fresh ones of the law would have."""
    data, accelerator = gaussian(600), make_accelerator()
    one = evaluator(data, tmp_path)
    real = RealData(data, None, None, [one], 600, by_class=False)
    assert real.about == {"split": None, "examples": 300, "reference": 300, "by_class": False}
    rows = [real.measure(division, accelerator) for division in real.divisions]
    found = sum(row["fd"] for row in rows) / DIVISIONS
    fresh = []
    for seed in range(1, 9):
        judge = evaluator(gaussian(600, seed), tmp_path)
        judge.add(torch.arange(600), gaussian(600, 100 + seed).examples)
        fresh.append(judge.result(accelerator).values["fd"])
    assert found == pytest.approx(sum(fresh) / 8, rel=0.35)
    assert rows[0]["fd_inf"] == pytest.approx(rows[0]["fd"] / 2)


def test_examples_are_taken_out_of_the_reference(tmp_path):
    """The same value as by a reference that never had them, for sums and for kept features."""
    data, accelerator = gaussian(60), make_accelerator()
    metrics = ("fd", "energy", "pr")
    real = RealData(data, None, None, [evaluator(data, tmp_path / "a", metrics)], 20, by_class=False)
    places = real.chosen(0)
    rest = torch.ones(60, dtype=torch.bool)
    rest[places] = False
    other = evaluator(Dataset("rest", data.examples[rest]), tmp_path / "b", metrics)
    other.add(torch.arange(20), data.examples[places])
    expected, found = other.result(accelerator).values, real.measure(0, accelerator)
    for name in ("energy", "energy_se", "recall", "nearest"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)
    scale = (1 / 20 + 1 / 60) / (1 / 20 + 1 / 40)
    assert found["fd"] == pytest.approx(expected["fd"] * scale, rel=1e-5)


def test_a_held_out_split_is_compared_with_the_data(tmp_path):
    data, test, accelerator = gaussian(200), gaussian(90, seed=1), make_accelerator()
    real = RealData(data, test, "test", [evaluator(data, tmp_path)], 40, by_class=False)
    assert real.about == {"split": "test", "examples": 40, "reference": 200, "by_class": False}
    assert len(real.divisions) == 2 and not set(real.chosen(0).tolist()) & set(real.chosen(1).tolist())
    judge = evaluator(data, tmp_path)
    judge.add(real.chosen(1), test.examples[real.chosen(1)])
    assert real.measure(1, accelerator)["fd"] == pytest.approx(judge.result(accelerator).values["fd"])
    few = RealData(data, test, "test", [evaluator(data, tmp_path)], 500, by_class=False)
    assert few.settings(0)["n"] == 90 and len(few.divisions) == 1  # its own n: not compared with other rows


def test_folds_of_a_held_out_split_have_its_classes(tmp_path):
    labels = torch.arange(80) % 2  # by index, a fold would have a single class
    centers = 4 * labels[:, None].float()
    data, test = (Dataset("dots", gaussian(80, seed).examples + centers, labels, 2) for seed in range(2))
    judge, found = evaluator(data, tmp_path), {}
    for name, folds in (("by class", folds_by_class(labels)), ("by index", None)):
        judge.add(torch.arange(80), test.examples, labels, folds)
        found[name] = judge.result(make_accelerator()).values["fd_inf"]
    real = RealData(data, test, "test", [judge], 80, by_class=True)
    assert real.measure(0, make_accelerator())["fd_inf"] == pytest.approx(found["by class"])
    assert abs(found["by class"] - found["by index"]) > 0.1


def test_too_few_examples_make_no_row(tmp_path):
    data = gaussian(9)
    assert not RealData(data, None, None, [evaluator(data, tmp_path, ("pr",))], 9, False).divisions
    alone = gaussian(8)
    real = RealData(alone, None, None, [evaluator(alone, tmp_path)], 8, False)
    assert "fd" in real.measure(0, make_accelerator())
    wide = gaussian(8, dims=5)  # no more examples than dimensions: the distance says nothing
    real = RealData(wide, None, None, [evaluator(wide, tmp_path)], 8, False)
    assert not real.measure(0, make_accelerator()).keys() & {"fd", "fd_inf"}


def test_a_sweep_measures_real_data_once(models, toy, tmp_path):
    config = BenchConfig(steps=(1,), baselines=(), n=12, seeds=(0, 1))
    made = Sweep(models, toy, config, tmp_path / "out", teacher="teacher")
    rows = list(made.rows())
    assert {row["model"] for row in rows} == {"teacher", "halved"}
    lines = (tmp_path / "out/bench.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    assert len(made.real_rows) == DIVISIONS == len(lines) - len(rows) and made.real_rows[0] == first
    assert (first["model"], first["steps"], first["n"], first["cell"]) == (REAL, None, 12, "real")
    assert first["held_out"] == {"split": None, "examples": 12, "reference": 38, "by_class": False}
    assert str(made.real_rows[0]).startswith(f"{REAL} · energy ")
    again = Sweep(models, toy, config, tmp_path / "out", teacher="teacher")
    assert list(again.rows()) == rows and again.real_rows == made.real_rows
    assert (tmp_path / "out/bench.jsonl").read_text().splitlines() == lines
    report.write(tmp_path / "out")
    text = (tmp_path / "out/report.md").read_text()
    assert f"| {REAL} |" in text and f"{REAL}: the data in two random parts, 12 and 38 examples" in text


def test_files_without_rows_of_real_data_are_read(models, toy, tmp_path):
    rows = list(sweep(models, toy, CONFIG, tmp_path, teacher="teacher"))
    assert real_groups(rows, summary(rows), ["energy"]) == []
    assert REAL not in report.markdown(rows, tmp_path)
    assert REAL in report.markdown(read_rows(tmp_path / "bench.jsonl"), tmp_path)


def test_the_classes_of_the_data_count_where_models_take_them(tmp_path):
    vectors, labels = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    data = Dataset("dots", vectors, labels, 2)
    for classes in (0, 2):
        paths = {"teacher": stored(tmp_path / f"{classes}", model(classes=classes), "denoising")}
        made = Sweep(paths, data, BenchConfig(steps=(1,), baselines=(), n=8), tmp_path, teacher="teacher")
        assert made.real.about["by_class"] is bool(classes)


def test_a_held_out_split_has_a_likelihood_of_its_own(models, toy, tmp_path):
    test = Dataset("toy test", toy.examples[:20] + 0.01)
    settings = BenchConfig(steps=(1,), baselines=(), n=4, metrics=("energy", "nll"), held_out="test")
    teacher = {"teacher": models["teacher"]}
    made = Sweep(teacher, toy, settings, tmp_path, teacher="teacher", held_out=test)
    [row] = made.rows()
    assert row["nll_held_out"] > 0 and row["nll"] != row["nll_held_out"]
    report.write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| NLL of training data, bits/dim | NLL of held-out data, bits/dim |" in text
    assert f"{REAL}: 4 examples of the split test" in text


def test_a_recipe_names_the_split(tmp_path):
    source = {"name": "a", "model": {"net": "mlp"}, "stages": {"teacher": {"method": "denoising"}}}
    toy = recipe.build(source | {"data": "toy", "bench": {"held_out": "test"}})
    with pytest.raises(FastdiffError, match="bench.held_out = test: .*split"):
        toy.held_out()
    same = {"data": {"name": "images", "path": str(tmp_path)}, "bench": {"held_out": "train"}}
    with pytest.raises(FastdiffError, match="bench.held_out = train: expected another split"):
        recipe.build(source | same).held_out()
    assert recipe.build(source | {"data": "toy"}).held_out() is None
