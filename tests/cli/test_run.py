"""The run command: again, changed, and where it cannot be."""

import copy

import pytest
import yaml

from tests.helpers.commands import RECIPE, picture


def test_run_again_does_nothing(finished, fastdiff):
    recipe, folder = finished
    before = (folder / "bench.jsonl").read_text()
    times = {path: path.stat().st_mtime_ns for path in (folder / "teacher").rglob("*") if path.is_file()}
    code, out, err = fastdiff("run", recipe, "--out", folder)
    assert (code, err) == (0, "") and "done. Open" in out and (folder / "bench.jsonl").read_text() == before
    assert times == {path: path.stat().st_mtime_ns for path in times}


@pytest.mark.parametrize(
    "override, key",
    [
        ("train.lr=5e-4", "train.lr"),
        ("model.net.width=16", "model.net.width"),
        ("stages.teacher.train.flip=true", "train"),
        ("data.n=33", "data.n"),
        ("name=other", "name"),
    ],
)
def test_a_changed_recipe_is_refused_on_a_finished_directory(override, key, finished, refused):
    said = refused("run", finished[0], override, "--out", finished[1])
    assert "was made with" in said and key in said and "--out" in said


def test_a_changed_benchmark_is_not(finished, fastdiff):
    assert fastdiff("run", finished[0], "bench.steps=[1, 2]", "--out", finished[1])[0] == 0
    assert fastdiff("run", finished[0], "--out", finished[1])[0] == 0


@pytest.mark.parametrize(
    "words, message",
    [
        (["train.stpes=3"], "train.stpes is unknown, did you mean steps?"),
        (["train.steps=0"], "stages.teacher.train.steps = 0: expected at least 1"),
        (["train.steps"], "override 'train.steps': expected key=value"),
        (
            ["stages.teacher.method=nosuch"],
            "stages.teacher.method: 'nosuch' is unknown, choose from denoising",
        ),
        (["stages.teacher.init=nosuch"], "neither an earlier stage nor a path"),
        (["--only", "nosuch"], "--only nosuch: no such stage, choose from teacher"),
        (["data=./nosuch"], "no such file or folder"),
        (["data={name: images, path: ./nosuch}"], "no images found"),
        (["model.net=unet"], "unet: expected images"),
        (["train.batch=7", "train.gradient_accumulation=2"], "is not divisible by"),
    ],
)
def test_runs_that_cannot_be(words, message, refused, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    assert message in refused("run", tmp_path / "recipe.yaml", *words, "--out", tmp_path / "out")


def test_unwritable_run(refused, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    line = refused("run", tmp_path / "recipe.yaml", "--out", tmp_path / "recipe.yaml/x")
    assert "recipe.yaml/x cannot be written (Not a directory)" in line and "--out" in line
    assert "no such file, and no shipped recipe has that name; `fastdiff list recipes`" in refused(
        "run", tmp_path / "nosuch.yaml"
    )
    assert "no shipped recipe has that name; did you mean digits?" in refused("run", "digit")


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


def test_a_run_without_a_benchmark(fastdiff, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    code, out, err = fastdiff("run", tmp_path / "recipe.yaml", "--no-bench", "--out", tmp_path / "run")
    assert (code, err) == (0, "") and "done, but not measured" in out
    assert not (tmp_path / "run/bench.jsonl").exists() and (tmp_path / "run/teacher").is_dir()
