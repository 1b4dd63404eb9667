"""Data without images: a method that needs none learns from labels and noise,
and is judged by what data there are."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import Flow
from fastdiff.data.registry import batch_at, open_dataset
from fastdiff.data.toys import nothing
from fastdiff.evaluation.config import BenchConfig
from fastdiff.evaluation.rows import read_rows
from fastdiff.evaluation.sweep import sweep
from fastdiff.io.export.model import export
from fastdiff.io.load import load
from fastdiff.io.metadata import read_metadata
from fastdiff.methods import METHODS
from fastdiff.methods.base import Method, per_sample
from fastdiff.networks import mlp, unet
from fastdiff.networks.autoencoder import Autoencoder
from fastdiff.runs import recipe
from fastdiff.runs import run as stages


@dataclass
class Jump(Method):
    """In one jump from noise to what the teacher sees there; some of the data may be wished for."""

    images: bool = False

    needs_teacher = True

    @property
    def needs_images(self):
        return self.images

    def loss(self, turn, nets, batch, progress):
        x, t = batch.rng.normal(batch.x0.shape[1:]), torch.ones(len(batch.x0), dtype=torch.float64)
        said, aim = (nets[role](x, t, t, batch.cond).x0 for role in ("student", "teacher"))
        return per_sample((said - aim.detach()).square()).mean(), {}

    def sampling(self):
        return Sampling("consistency", "uniform", (1,))


@pytest.fixture(autouse=True)
def jump(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setitem(METHODS, "jump", Jump)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Teachers of points, and of digits with labels."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    export(Denoiser(mlp((2,), width=8, depth=1), Flow(), "velocity", (2,)), folder / "points", {})
    export(
        Denoiser(unet((1, 8, 8), 10, channels=(8,), layers=1), Flow(), "velocity", (1, 8, 8)),
        folder / "digits",
        {},
    )
    return folder


def source(models, **stage):
    """A recipe with a stage of points."""
    return {
        "name": "tiny",
        "data": {"name": "toy", "n": 64},
        "model": {"net": {"name": "mlp", "width": 8, "depth": 1}},
        "train": {"steps": 4, "batch": 8, "sample_every": 2, "log_every": 2},
        "bench": {"steps": [1], "baselines": [], "n": 8},
        "stages": {"student": {"method": "jump", "teacher": str(models / "points")} | stage},
    }


def test_nothing_has_a_shape_and_labels_of_all_classes_in_turn_and_no_memory():
    data = open_dataset("nothing", shape=(3, 512, 512), classes=1000)
    assert (data.shape, data.classes, len(data), data.examples.dtype) == (
        (3, 512, 512),
        1000,
        4000,
        torch.float32,
    )
    assert (
        data.examples.untyped_storage().nbytes() == 4 and torch.bincount(data.labels).tolist() == [4] * 1000
    )
    assert len(data.fingerprint) == 16 and data.fingerprint != nothing((3, 512, 512)).fingerprint
    assert len({nothing(shape, classes).fingerprint for shape in ((2,), (3,)) for classes in (0, 3)}) == 4
    assert nothing((2,)).labels is None and len(nothing((2,), 5000)) == 5000
    batch = batch_at(nothing((1, 8, 8), 10), 100, 6, 0, flip=True)
    assert batch.x0.shape == (6, 1, 8, 8) and batch.x0.isnan().all() and batch.cond["label"].max() < 10


def test_a_stage_without_images_is_trained_as_with_them_and_judged_by_the_data_of_the_run(models, tmp_path):
    runs = {}
    for name, data in (("with", None), ("without", {"name": "nothing", "shape": [2]})):
        stage = {} if data is None else {"data": data}
        runs[name] = stages.run(recipe.build(source(models, **stage)), tmp_path / name)
    one, two = (load(folder / "student").state_dict() for folder in runs.values())
    assert all(torch.equal(one[key], two[key]) for key in one)
    rows = [read_rows(folder / "bench.jsonl") for folder in runs.values()]
    student = [[row["energy"] for row in some if row["model"] == "student"] for some in rows]
    assert len(student[0]) == 1 and student[0] == student[1]
    notes = read_metadata(runs["without"] / "student")
    assert notes["sources"] == {"teacher": "points"} and "data" not in notes["licences"]
    assert (runs["without"] / "report.html").exists()


def test_a_run_without_images_trains_exports_and_is_not_measured(models, tmp_path, fastdiff, capsys):
    told = source(models) | {
        "data": {"name": "nothing", "shape": [1, 8, 8], "classes": 10},
        "model": {"net": {"name": "unet", "channels": [8], "layers": 1}, "labels": True},
    }
    told["stages"] = {
        "student": {"method": "jump", "teacher": str(models / "digits")},
        "pairs": {"pairs": {"n": 16, "steps": 2}, "teacher": "student"},
        "kd": {"method": "kd", "data": "pairs", "teacher": "student", "train": {"sample_every": 0}},
    }
    folder = stages.run(recipe.build(told), tmp_path / "run")
    printed = capsys.readouterr().out.replace("\n", " ")
    assert (
        "3 stages on no images, of shape (1, 8, 8)" in printed
        and printed.count("has no images to judge samples by") == 1
    )
    assert not (folder / "bench.jsonl").exists() and load(folder / "kd").classes == 10
    assert sorted(path.name for path in (folder / "student/samples").iterdir()) == [
        "00000002.png",
        "00000004.png",
    ]
    assert all(
        line["loss"] is not None
        for line in map(json.loads, (folder / "kd/log.jsonl").read_text().splitlines())
    )
    assert fastdiff("status", folder)[1].splitlines()[-1].split() == ["done"]
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.json")}
    stages.run(recipe.build(told), folder)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_model_of_latents_learns_without_images(tmp_path):
    """The shape of nothing is that of images; what it learns on has that of their latents."""
    torch.manual_seed(0)
    latent = Autoencoder.open(Path("checkpoints/digits-latent/pipeline"))
    net = unet((2, 4, 4), channels=(8,), layers=1)
    export(Denoiser(net, Flow(), "velocity", (2, 4, 4), latent=latent), tmp_path / "t", {})
    told = source(tmp_path, teacher=str(tmp_path / "t")) | {"data": {"name": "nothing", "shape": [1, 8, 8]}}
    student = load(stages.run(recipe.build(told), tmp_path / "run") / "student")
    assert (student.shape, student.image_shape) == ((2, 4, 4), (1, 8, 8))


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"data": {"name": "nothing", "shape": [2]}, "method": {"name": "jump", "images": True}},
            "stages.student.data: `nothing` has no images, and method jump with these settings needs images",
        ),
        (
            {"data": {"name": "nothing", "shape": [2]}, "method": "ect"},
            "and method ect with these settings needs images",
        ),
        ({"data": "nothing"}, "'nothing' is neither an earlier stage of pairs nor a path"),
        ({"data": {"name": "nothing"}}, "stages.student.data.shape is missing"),
        ({"data": {"name": "nothing", "shape": [0]}}, "stages.student.data.shape: expected"),
        (
            {"data": {"name": "nothing", "shape": [2], "classes": -1}},
            "stages.student.data.classes: expected at least",
        ),
        (
            {"data": {"name": "nothing", "shape": [2], "clases": 3}},
            "stages.student.data.clases is unknown, did you mean",
        ),
        (
            {"data": {"name": "nothing", "shape": [3]}},
            (
                r"stages.student.data: `nothing` has shape \(3,\) and 0 classes, .* the run's data toy, .* "
                r"\(2,\) and 0"
            ),
        ),
        (
            {"data": {"name": "nothing", "shape": [2], "classes": 4}},
            r"`nothing` has shape \(2,\) and 4 classes, expected",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(models, tmp_path, change, message):
    with pytest.raises(FastdiffError, match=message) as caught:
        stages.run(recipe.build(source(models, **change)), tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run/student").exists()


def test_a_run_on_nothing_with_a_method_of_images_is_refused(models):
    told = source(models) | {"data": {"name": "nothing", "shape": [2]}}
    recipe.build(told)
    told["stages"]["teacher"] = {"method": "denoising"}
    with pytest.raises(
        FastdiffError, match="stages.teacher.data: `nothing` has no images, and method denoising"
    ):
        recipe.build(told)


def test_nothing_judges_no_samples(models, tmp_path, refused):
    with pytest.raises(FastdiffError, match="data = nothing: expected a data set with images"):
        list(
            sweep(
                {"points": models / "points"}, nothing((2,)), BenchConfig(baselines=(), n=8), tmp_path / "out"
            )
        )
    assert "data set 'nothing': missing a required argument: 'shape'" in refused(
        "bench", models / "points", "--data", "nothing", "--out", tmp_path / "out"
    )
