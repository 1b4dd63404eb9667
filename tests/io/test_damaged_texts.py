"""Texts that strangers send with a model, a run or rows are refused in one line."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.helpers.damage import DEEP, RECIPE
from tests.helpers.paths import HOUSE

pytestmark = pytest.mark.usefixtures("little_memory")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


# ---- paths


@pytest.mark.parametrize("name", ["key", "cell"])
def test_rows_name_no_file_elsewhere(name, refused, tmp_path):
    row = {
        "key": "k",
        "model": "m",
        "sampler": "ddim",
        "spacing": "uniform",
        "steps": 1,
        "n": 8,
        "seed": 0,
        "fid": 1.0,
    }
    (tmp_path / "bench.jsonl").write_text(
        json.dumps(row | {name: "../../secret"}) + "\n" + json.dumps(row) + "\n"
    )
    assert f"line 1: {name} = '../../secret'" in refused("report", tmp_path)


# ---- texts


TEXTS = {
    "deep": DEEP,
    "deep objects": '{"a":' * 100_000,
    "no JSON": "{",
    "nothing": "",
    "no text": "\xff",
    "a list": "[1]",
    "a number": "7",
    "null": "null",
    "just too deep": "[" * 65 + "]" * 65,
}


@pytest.mark.parametrize("text", list(TEXTS))
@pytest.mark.parametrize(
    "file", ["fastdiff.json", "model_index.json", "unet/config.json", "scheduler/scheduler_config.json"]
)
def test_json_of_a_model(model, file, text, refused, fastdiff, monkeypatch, tmp_path):
    if file != "fastdiff.json":
        (model / "fastdiff.json").unlink()
    (model / file).write_text(TEXTS[text], "latin1")
    assert str(model) in refused("sample", model)
    listed = tmp_path / "checkpoints/run"
    listed.mkdir(parents=True)
    model.rename(listed / "stage")
    monkeypatch.chdir(tmp_path)
    code, out, err = fastdiff("list", "models")
    assert code == 0 and ("damaged" in out if file == "fastdiff.json" else "no models in" in err)


@pytest.mark.parametrize("text", list(TEXTS))
def test_json_of_a_run(text, recipe, refused, fastdiff, tmp_path):
    words, bad = ["run", recipe, "--out", tmp_path / "out"], TEXTS[text]
    stage = tmp_path / "out/teacher"
    stage.mkdir(parents=True)
    (stage / "origin.json").write_text(bad, "latin1")
    if text not in ("a list", "a number", "null"):  # those are another origin: it starts over
        assert "origin.json is damaged" in refused(*words, "--only", "teacher")
    (stage / "origin.json").unlink()
    (tmp_path / "out/pins.json").write_text(bad, "latin1")
    assert "pins.json is damaged" in refused(*words)
    (tmp_path / "out/pins.json").unlink()
    (tmp_path / "out/bench.jsonl").write_text(f"{bad}\n{{}}\n", "latin1")
    assert "bench.jsonl, line 1" in refused("report", tmp_path / "out")
    (tmp_path / "out/judge.jsonl").write_text(f"{bad}\n{{}}\n", "latin1")
    assert "judge.jsonl, line 1" in refused("judge", tmp_path / "out", "--results")
    row = {
        "key": "k",
        "model": "m",
        "sampler": "ddim",
        "spacing": "uniform",
        "steps": 1,
        "n": 8,
        "seed": 0,
        "fid": 1.0,
    }
    (tmp_path / "out/bench.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "out/judge.jsonl").unlink()
    (tmp_path / "out/left-out.json").write_text(bad, "latin1")
    assert fastdiff("report", tmp_path / "out")[0] == 0


@pytest.mark.parametrize(
    "name, value",
    [
        ("model", 7),
        ("steps", "one"),
        ("steps", 1.5),
        ("fid", "low"),
        ("fid", [1]),
        ("fid_se", {}),
        ("nfe", "x"),
        ("seed", "a"),
        ("cell", 7),
        ("method", [1]),
        ("guidance", "w"),
        ("ms_per_image", []),
        ("broken", 3),
        ("clip", {}),
        ("n", "8"),
        ("versions", 7),
        ("processes", "x"),
        ("device", []),
        ("commit", 7),
        ("classes_digits", 7),
        ("teacher", "x"),
        ("train_images", "x"),
        ("metrics", 7),
        ("params", "x"),
        ("peak_mb", "x"),
        ("dims", "x"),
    ],
)
def test_rows_of_wrong_types_are_refused_or_shown(name, value, fastdiff, tmp_path):
    row = {
        "key": "k",
        "model": "m",
        "sampler": "ddim",
        "spacing": "uniform",
        "steps": 1,
        "n": 8,
        "seed": 0,
        "fid": 1.0,
    }
    (tmp_path / "bench.jsonl").write_text(
        json.dumps(row | {name: value}) + "\n" + json.dumps(row | {"key": "l"}) + "\n"
    )
    code, _, err = fastdiff("report", tmp_path)
    assert code == 0 or (code == 2 and err.count("\n") == 1 and f"line 1: {name} = " in err)


@pytest.mark.parametrize("value", [DEEP, "7", "[1]", "{", '{"origin": 1}', '{"nfe": "x"}'])
def test_metadata_of_pairs(value, model, recipe, refused, tmp_path):
    (tmp_path / "pairs").mkdir()
    save_file({"x0": torch.ones(2, 2)}, tmp_path / "pairs/pairs.safetensors", {"origin": value, "nfe": value})
    said = refused(
        "run",
        recipe,
        "stages.teacher.method=kd",
        f"stages.teacher.data={tmp_path / 'pairs'}",
        f"stages.teacher.teacher={model}",
        "--out",
        tmp_path / "out",
    )
    assert "pairs.safetensors is damaged" in said


@pytest.mark.parametrize("text", ["", DEEP, "[1]", "{}", '{"name": "../../x"}', '{"name": 7}'])
def test_features_of_an_extractor(text, model, refused, tmp_path):
    features = shutil.copytree(HOUSE.parent / "checkpoints/digits/features", tmp_path / "features")
    (features / "features.json").write_text(text)
    words = [
        "bench",
        model,
        "--extractor",
        features,
        "--steps",
        1,
        "--baselines",
        "",
        "--n",
        8,
        "--out",
        tmp_path / "out",
    ]
    assert f"extractor {features} is damaged" in refused(*words)
