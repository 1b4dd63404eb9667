"""What a user types: it does what it says, or says in one line what to mend, with exit code 2."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from fastdiff.cli import app as cli
from fastdiff.cli.listing import LISTS, Listed
from fastdiff.cli.options import names_of
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import Cosine
from fastdiff.io.export.model import export
from fastdiff.io.load import load
from fastdiff.methods import METHODS
from fastdiff.networks import unet
from fastdiff.samplers import SAMPLERS

ROOT = Path(__file__).parents[2]
RECIPE = {
    "name": "tiny",
    "data": {"name": "toy", "n": 32},
    "model": {"net": {"name": "mlp", "width": 8, "depth": 1}},
    "train": {"steps": 2, "batch": 8},
    "stages": {"teacher": {"method": "denoising"}},
    "bench": {"steps": [1], "baselines": [], "n": 8},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A recipe and the directory of its finished run."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.yaml").write_text("# A tiny run.\n" + yaml.safe_dump(RECIPE))
    from fastdiff.runs import recipe
    from fastdiff.runs import run as stages

    stages.run(recipe.load(folder / "tiny.yaml"), folder / "checkpoints/tiny")
    return folder / "tiny.yaml", folder / "checkpoints/tiny"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A tiny model of labelled 8 x 8 images, meant for DDIM at 2 steps alone."""
    folder = tmp_path_factory.mktemp("images")
    net = unet((1, 8, 8), 10, channels=(8,), layers=1)
    model = Denoiser(net, Cosine(), "v", (1, 8, 8), sampling=Sampling("ddim", "uniform", (2, 3), only=True))
    export(model, folder, {"method": "progressive", "origin": {}, "ema": 0.0, "cost": {}})
    return folder


def command(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "fastdiff", *map(str, words)],
        cwd=cwd,
        text=True,
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )


def picture(path, side=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


# Real commands


@pytest.mark.parametrize("words, message", [
    (["run", "{recipe}", "train.stpes=3"], "train.stpes is unknown, did you mean steps?"),
    (["export", "{tmp}", "--out", "{tmp}"], "exists: name a new folder"),
    (["sample", "{tmp}", "--labels", "seven"], "--labels seven: expected whole numbers"),
    (["bench", "{tmp}", "--steps", "1,two"], "--steps 1,two: expected whole numbers"),
    (["report", "{tmp}"], "no rows in"),
], ids=lambda x: x[0] if isinstance(x, list) else "")  # fmt: skip
def test_errors_of_real_commands(words, message, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    done = command(*(word.format(tmp=tmp_path, recipe=recipe) for word in words), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fastdiff: ") and message in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [recipe]


def test_help_lists_the_verbs(tmp_path):
    done = command("--help", cwd=tmp_path)
    listed = done.stdout.partition("Commands:")[2].split("\n")
    verbs = [line.split()[0] for line in listed if line.startswith("  ") and not line.startswith("   ")]
    assert (done.returncode, done.stderr) == (0, "")
    assert verbs == [verb.name for verb in cli.app.app.registered_commands] and len(verbs) == 11


def test_the_command_line_loads_without_torch():
    heavy = "{'torch', 'diffusers', 'datasets', 'accelerate', 'matplotlib'}"
    code = f"import sys, fastdiff, fastdiff.cli; print(sorted({heavy} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, cwd=ROOT).stdout
        == "[]\n"
    )


def test_our_own_errors_keep_their_traceback():
    code = (
        "import sys; from fastdiff import cli; from fastdiff.cli import inspect; "
        "inspect.LISTS = {'samplers': lambda: 1 / 0}; cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "list", "samplers"], text=True, capture_output=True, cwd=ROOT
    )
    assert done.returncode == 1 and done.stderr.startswith("Traceback")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_ctrl_c(fastdiff, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setitem(LISTS, Listed.samplers, interrupted)
    code, out, err = fastdiff("list", "samplers")
    assert code == 130 and err == "fastdiff: interrupted; the same command goes on from the last state\n"


# list


@pytest.mark.parametrize("what", list(Listed))
def test_lists(what, fastdiff, monkeypatch, finished):
    monkeypatch.chdir(finished[1].parents[1] if what == "models" else ROOT)
    code, out, err = fastdiff("list", what)
    listed = {line.split()[0]: line.partition(" ")[2].strip() for line in out.splitlines()}
    assert (
        (code, err) == (0, "")
        and json.loads(fastdiff("list", what, "--json")[1]) == listed
        and all(listed.values())
    )
    some = {
        "samplers": SAMPLERS,
        "methods": METHODS,
        "schedules": ["ddpm", "karras"],
        "datasets": ["digits", "toy", "hub"],
        "recipes": ["recipes/toy.yaml"],
        "models": ["checkpoints/tiny/teacher"],
    }[what]
    assert set(some) <= set(listed) and (what not in ("samplers", "methods") or list(some) == list(listed))


def test_a_damaged_model_is_listed_so(fastdiff, monkeypatch, tmp_path):
    (tmp_path / "checkpoints/run/stage").mkdir(parents=True)
    (tmp_path / "checkpoints/run/stage/fastdiff.json").write_text('{"method": "e')
    monkeypatch.chdir(tmp_path)
    assert json.loads(fastdiff("list", "models", "--json")[1]) == {"checkpoints/run/stage": "damaged"}


def test_lists_of_nothing(fastdiff, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert [json.loads(fastdiff("list", what, "--json")[1]) for what in ("recipes", "models")] == [{}, {}]


# sample


def test_sample_a_sheet(images, fastdiff, tmp_path):
    code, out, err = fastdiff("sample", images, "--n", 6, "--out", tmp_path / "new/sheet.png")
    assert (code, out, err) == (0, f"6 samples in {tmp_path / 'new/sheet.png'}\n", "")
    sheet = Image.open(tmp_path / "new/sheet.png")
    assert (sheet.size, sheet.mode) == ((256, 384), "L")  # 2 x 3 images of 8 x 8, 16 times as large
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sheet.png"]


def test_sample_a_folder(images, fastdiff, tmp_path):
    words = [
        "sample",
        images,
        "--n",
        3,
        "--steps",
        3,
        "--labels",
        "1,2,3",
        "--guidance",
        2,
        "--batch",
        2,
        "--seed",
        5,
    ]
    assert fastdiff(*words, "--out", tmp_path / "one")[0] == 0
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "000000.png",
        "000001.png",
        "000002.png",
    ]
    from fastdiff.data.image_grid import picture as drawn
    from fastdiff.samplers.generate import sample

    x = sample(load(images), steps=3, n=3, seed=5, labels=torch.tensor([1, 2, 3]), guidance=2.0)
    for i, image in enumerate(x):
        found = Image.open(tmp_path / f"one/{i:06d}.png")
        assert found.size == (8, 8) and np.array_equal(
            np.array(found), np.array(drawn(image[None], columns=1))
        )


def test_sample_points(finished, fastdiff, tmp_path):
    words = ["sample", finished[1] / "teacher", "--sampler", "ddpm", "--steps", 2, "--n", 5]
    assert fastdiff(*words, "--out", tmp_path / "points.PNG")[0] == 0
    assert Image.open(tmp_path / "points.PNG").size == (240, 240)


@pytest.mark.parametrize("words, message", [
    (["--steps", 0], "steps"),
    (["--steps", 5], "this model was trained for ddim at 2 or 3 steps, not for ddim at 5"),
    (["--sampler", "ddmi"], "sampler 'ddmi' is unknown, choose from ddpm, ddim"),
    (["--sampler", "ddpm"], "not for ddpm at 2"),
    (["--spacing", "cubic"], "spacing 'cubic' is unknown, choose from uniform"),
    (["--n", 0], "--n 0: expected at least 1"),
    (["--batch", 0], "--batch 0: expected at least 1"),
    (["--labels", "seven"], "--labels seven: expected whole numbers separated by commas"),
    (["--labels", ""], "--labels : expected whole numbers separated by commas"),
    (["--labels", "1,2"], "--labels: 2 of them for n = 64"),
    (["--labels", "10"], "labels must be 0 to 9, got 10 to 10"),
    (["--labels", "-1"], "labels must be 0 to 9"),
    (["--guidance", 3], "guidance = 3.0 needs labels"),
])  # fmt: skip
def test_samples_that_cannot_be(words, message, images, refused, tmp_path):
    assert message in refused("sample", images, "--out", tmp_path / "x.png", *words)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x.png", "x", "x/y.png"])
def test_unwritable_samples(name, images, refused, tmp_path):
    (tmp_path / "file.txt").write_text("")
    out = tmp_path / "file.txt" / name
    assert f"--out {out}: cannot be written" in refused("sample", images, "--n", 1, "--out", out)


# models


def test_folders_that_are_no_model(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no such folder" in refused("sample", tmp_path / "nosuch")
    assert "no such folder" in refused("sample", "nosuch")
    assert "is no model" in refused("sample", tmp_path / "empty")
    assert "is no model" in refused("bench", tmp_path / "empty", "--data", "toy", "--out", tmp_path / "out")
    assert "is no model" in refused("export", tmp_path / "empty", "--out", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_damaged_models(images, refused, tmp_path):
    def damaged(name, data):
        for path in images.rglob("*"):
            copied = tmp_path / "model" / path.relative_to(images)
            copied.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                copied.write_bytes(data(path.read_bytes()) if path.name == name else path.read_bytes())
        return tmp_path / "model"

    weights = next(images.rglob("*.safetensors")).name
    assert "damaged weights" in refused("sample", damaged(weights, lambda data: data[:-1]))
    assert "damaged weights" in refused("sample", damaged(weights, lambda data: b""))
    assert "is damaged" in refused("sample", damaged("fastdiff.json", lambda data: data[:-9]))
    assert "is damaged" in refused("sample", damaged("fastdiff.json", lambda data: b"{}"))
    next((tmp_path / "model").rglob("*.safetensors")).unlink()
    (tmp_path / "model/fastdiff.json").write_bytes((images / "fastdiff.json").read_bytes())
    assert "is missing its weights" in refused("sample", tmp_path / "model")


# export


def test_export(images, fastdiff, refused, tmp_path):
    assert fastdiff("export", images, "--out", tmp_path / "a/b")[0] == 0
    ours, theirs = load(images), load(tmp_path / "a/b")
    assert ours.sampling == theirs.sampling and all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert json.loads((tmp_path / "a/b/fastdiff.json").read_text())["method"] == "progressive"
    assert "exists: name a new folder" in refused("export", images, "--out", tmp_path / "a/b")
    (tmp_path / "file.txt").write_text("")
    assert "cannot be written" in refused("export", images, "--out", tmp_path / "file.txt/x")


# run


def test_run_again_does_nothing(finished, fastdiff):
    recipe, folder = finished
    before = (folder / "bench.jsonl").read_text()
    times = {path: path.stat().st_mtime_ns for path in (folder / "teacher").rglob("*") if path.is_file()}
    code, out, err = fastdiff("run", recipe, "--out", folder)
    assert (code, err) == (0, "") and "done. Open" in out and (folder / "bench.jsonl").read_text() == before
    assert times == {path: path.stat().st_mtime_ns for path in times}


@pytest.mark.parametrize("override, key", [
    ("train.lr=5e-4", "train.lr"), ("model.net.width=16", "model.net.width"), ("stages.teacher.train.flip=true", "train"),
    ("data.n=33", "data.n"), ("name=other", "name"),
])  # fmt: skip
def test_a_changed_recipe_is_refused_on_a_finished_directory(override, key, finished, refused):
    said = refused("run", finished[0], override, "--out", finished[1])
    assert "was made with" in said and key in said and "--out" in said


def test_a_changed_benchmark_is_not(finished, fastdiff):
    assert fastdiff("run", finished[0], "bench.steps=[1, 2]", "--out", finished[1])[0] == 0
    assert fastdiff("run", finished[0], "--out", finished[1])[0] == 0


@pytest.mark.parametrize("words, message", [
    (["train.stpes=3"], "train.stpes is unknown, did you mean steps?"),
    (["train.steps=0"], "stages.teacher.train.steps = 0: expected at least 1"),
    (["train.steps"], "override 'train.steps': expected key=value"),
    (["stages.teacher.method=nosuch"], "stages.teacher.method: 'nosuch' is unknown, choose from denoising"),
    (["stages.teacher.init=nosuch"], "no earlier stage and no path"),
    (["--only", "nosuch"], "--only nosuch: no such stage, choose from teacher"),
    (["data=./nosuch"], "no such file or folder"),
    (["data={name: images, path: ./nosuch}"], "no images found"),
    (["model.net=unet"], "unet expects images"),
    (["train.batch=7", "train.accumulate=2"], "does not divide"),
])  # fmt: skip
def test_runs_that_cannot_be(words, message, refused, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    assert message in refused("run", tmp_path / "recipe.yaml", *words, "--out", tmp_path / "out")


def test_unwritable_run(refused, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    line = refused("run", tmp_path / "recipe.yaml", "--out", tmp_path / "recipe.yaml/x")
    assert "recipe.yaml/x: not a directory: make it writable, or choose another with --out" in line
    assert "cannot be read" in refused("run", tmp_path / "nosuch.yaml")


def test_folders_of_images_that_do_not_fit(images, refused, tmp_path):
    recipe = copy.deepcopy(RECIPE) | {
        "model": {"net": {"name": "unet", "channels": [8]}},
        "data": str(tmp_path / "data"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    bench = ["bench", images, "--data", tmp_path / "data", "--out", tmp_path / "out"]
    picture(tmp_path / "data/a.png", 8)
    assert "have (3, 8, 8)" in refused(*bench)
    picture(tmp_path / "data/b.png", 9)
    for words in (bench, ["run", tmp_path / "recipe.yaml", "--out", tmp_path / "run"]):
        said = refused(*words)
        assert "images differ in size" in said and "a.png is 8 x 8" in said and "b.png is 9 x 9" in said
    (tmp_path / "data/b.png").write_bytes((tmp_path / "data/a.png").read_bytes()[:60])
    for words in (bench, ["run", tmp_path / "recipe.yaml", "--out", tmp_path / "run"]):
        assert "b.png: not a readable image" in refused(*words)


# bench and report


def test_bench(finished, fastdiff, tmp_path):
    teacher, out = finished[1] / "teacher", tmp_path / "bench"
    words = ["bench", teacher, "--data", "toy", "--out", out]
    words += ["--steps", "1,2", "--against", "ddpm:2", "--n", 8, "--seeds", "0,1"]
    code, text, err = fastdiff(*words)
    assert (
        code == 0
        and "ddpm" in text
        and (out / "report.html").is_file()
        and "teacher-ddpm-uniform-2  seed 1" in err
    )
    rows = [json.loads(line) for line in (out / "bench.jsonl").read_text().splitlines()]
    assert [(row["model"], row["sampler"], row["steps"], row["seed"]) for row in rows] == [
        ("teacher", *how, seed) for how in (("ddim", 1), ("ddim", 2), ("ddpm", 2)) for seed in (0, 1)
    ]
    code, text, err = fastdiff(*words, "--json")
    assert code == 0 and [json.loads(line) for line in text.splitlines()] == rows


@pytest.mark.parametrize("words, message", [
    (["--data", "digits"], "makes samples of shape (2,), the data digits have (1, 8, 8)"),
    (["--data", "nosuch/no/such"], "no such file or folder"),
    (["--against", "ddpm"], "bench.baselines: 'ddpm': expected sampler:steps"),
    (["--steps", "0"], "bench.steps"),
    (["--steps", ""], "--steps : expected whole numbers"),
    (["--seeds", "a"], "--seeds a: expected whole numbers"),
    (["--n", "1"], "bench.n = 1"),
    (["--batch", "0"], "bench.batch = 0"),
    (["--resolution", "0"], "resolution"),
    (["--extractor", "inception"], "leave extractor out"),
    (["--out", "{tmp}/file.txt/x"], "cannot be written"),
])  # fmt: skip
def test_benches_that_cannot_be(words, message, finished, refused, tmp_path):
    (tmp_path / "file.txt").write_text("")
    words = [word.format(tmp=tmp_path) for word in words]
    defaults = ["--data", "toy", "--out", str(tmp_path / "out")]
    assert message in refused("bench", finished[1] / "teacher", *defaults, *words)


def test_models_are_named_by_what_tells_them_apart(tmp_path):
    def named(*paths):
        names = names_of([f"{tmp_path}/{path}" for path in paths])
        return {name: path.removeprefix(f"{tmp_path}/") for name, path in names.items()}

    assert named("a/teacher") == {"teacher": "a/teacher"}
    assert named("a/teacher", "a/ect/") == {"teacher": "a/teacher", "ect": "a/ect/"}
    assert named("a/x/teacher", "b/x/teacher") == {"a-x-teacher": "a/x/teacher", "b-x-teacher": "b/x/teacher"}
    assert (
        named("a/teacher", "a/teacher") == {"teacher": "a/teacher"}
        and len(named("a/teacher", "a/teacher/")) == 1
    )
    assert names_of(["google/ddpm"]) == {"ddpm": "google/ddpm"}


def test_report(finished, fastdiff, refused, tmp_path):
    code, out, err = fastdiff("report", finished[1])
    assert (code, err) == (0, "") and "report.html" in out and "teacher" in out
    code, out, err = fastdiff("report", finished[1], "--json")
    assert code == 0 and {group["model"] for group in json.loads(out)} == {"teacher"}
    (tmp_path / "bench.jsonl").write_text("{}\n{}\n")
    assert "line 1" in refused("report", tmp_path)
    assert "no rows in" in refused("report", tmp_path / "nosuch")
    assert "no rows in" in refused("report", finished[0])
    (tmp_path / "bench.jsonl").write_text((finished[1] / "bench.jsonl").read_text())
    (tmp_path / "report.md").mkdir()
    assert "the report cannot be written" in refused("report", tmp_path)
