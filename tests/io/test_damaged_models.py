"""What a stranger sends is refused in one line: no code runs, no path leads out, no memory goes."""

import ast
import io
import json
import os
import pickle
import shlex
import shutil
import struct
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path

import datasets
import pytest
import torch
import yaml
from huggingface_hub import constants
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import fastdiff as package
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Cosine
from fastdiff.io.export.model import export
from fastdiff.networks import unet

pytestmark = pytest.mark.usefixtures("little_memory")
HOUSE = Path(package.__file__).parent
DEEP = "[" * 100_000 + "]" * 100_000
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
INDEX = "unet/diffusion_pytorch_model.safetensors.index.json"
RECIPE = {
    "name": "tiny",
    "data": {"name": "toy", "n": 32},
    "model": {"net": {"name": "mlp", "width": 8, "depth": 1}},
    "train": {"steps": 1, "batch": 8},
    "stages": {"teacher": {"method": "denoising"}},
    "bench": {"steps": [1], "baselines": [], "n": 8},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny model of 8 x 8 images."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("trained")
    export(
        Denoiser(unet((1, 8, 8), channels=(8,), layers=1), Cosine(), "v", (1, 8, 8)),
        folder,
        {"method": "denoising", "origin": {}, "ema": 0.0, "cost": {}},
    )
    return folder


@pytest.fixture
def model(trained, tmp_path):
    """A copy to be tampered with."""
    return shutil.copytree(trained, tmp_path / "model")


@pytest.fixture
def plain(model):
    """The same as diffusers alone would have written it."""
    (model / "fastdiff.json").unlink()
    return model


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


def change(path, **keys):
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


class Bomb:
    """Leaves a marker where it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_weights_beside_those_of_the_checksum_are_refused(model, refused):
    """diffusers would read what an index names, whatever file the checksum is of."""
    place = model / "unet"
    shutil.copy(place / "diffusion_pytorch_model.safetensors", place / "other.safetensors")
    names = load_file(place / "other.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "other.safetensors")}
    (place / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    assert "expected one file, copy it again" in refused("sample", model)


def test_weights_of_another_network_are_named(plain, refused):
    weights = plain / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    save_file(
        {name.replace("conv_in.bias", "conv_on.bias"): value for name, value in tensors.items()}, weights
    )
    assert "the weights and the network differ in conv_in.bias" in refused("sample", plain)


def test_a_pipe_in_the_place_of_json_keeps_nobody_waiting(model, refused):
    (model / "fastdiff.json").unlink()
    os.mkfifo(model / "fastdiff.json")
    assert "no file" in refused("sample", model)


# ---- pickles


def test_the_bomb_goes_off(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt", ".pth", ".pkl"])
@pytest.mark.parametrize("made", ["torch", "pickle"])
def test_a_pickled_file_is_no_model(suffix, made, refused, tmp_path):
    path = tmp_path / f"model{suffix}"
    if made == "torch":
        torch.save({"weight": Bomb(tmp_path / "marker")}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(tmp_path / "marker")))
    for words in (
        ["sample", path],
        ["bench", path, "--out", tmp_path / "out"],
        ["export", path, "--out", tmp_path / "out"],
    ):
        said = refused(*words)
        assert f"{path} is pickled, which could run code" in said and "weights_only=True" in said
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt"])
@pytest.mark.parametrize("kind", ["a plain pipeline", "an export"])
def test_pickled_weights_of_a_folder_are_refused_by_name(model, suffix, kind, refused, tmp_path):
    (model / WEIGHTS).unlink()
    if kind == "a plain pipeline":
        (model / "fastdiff.json").unlink()
    path = model / f"unet/diffusion_pytorch_model{suffix}"
    torch.save({"weight": Bomb(tmp_path / "marker")}, path)
    said = refused("sample", model)
    assert f"{path} is pickled, which could run code" in said and "use_safetensors=False" in said
    assert not (tmp_path / "marker").exists()


def follow(line, monkeypatch):
    """Do what a line says: python -c "..." arguments."""
    _, _, code, *words = shlex.split(line.partition("plain tensors, ")[2].partition(", and name")[0])
    monkeypatch.setattr(sys, "argv", ["-c", *words])
    exec(code, {})


def test_the_line_converts_pickled_weights_and_runs_none_of_their_code(
    plain, fastdiff, refused, monkeypatch, tmp_path
):
    path = plain / "unet/diffusion_pytorch_model.bin"
    tensors = package.load(plain).net.module.state_dict()
    (plain / WEIGHTS).unlink()
    torch.save(tensors | {"x": Bomb(tmp_path / "marker")}, path)
    with pytest.raises(OSError, match="Unable to load weights"):
        follow(refused("sample", plain), monkeypatch)
    torch.save(tensors, path)
    follow(refused("sample", plain), monkeypatch)
    assert not (tmp_path / "marker").exists()
    assert fastdiff("sample", plain, "--n", 1, "--steps", 1, "--out", tmp_path / "x.png")[0] == 0


def test_the_line_for_a_single_file_converts_it(refused, monkeypatch, tmp_path):
    path = tmp_path / "model.ckpt"
    torch.save({"weight": torch.ones(3)}, path)
    follow(refused("sample", path), monkeypatch)
    assert (tmp_path / "diffusion_pytorch_model.safetensors").exists()


@pytest.mark.parametrize("name", [WEIGHTS, "pairs.safetensors", "state"])
def test_a_pickle_called_safetensors_is_not_unpickled(model, name, refused, recipe, tmp_path, capsys):
    bomb = io.BytesIO()
    torch.save({"weight": Bomb(tmp_path / "marker")}, bomb)
    if name == "state":
        state = tmp_path / "out/teacher/state/00000001"
        state.mkdir(parents=True)
        (state / "tensors.safetensors").write_bytes(bomb.getvalue())
        from fastdiff.core.files import sha256

        said = sha256(state / "tensors.safetensors")
        (state / "state.json").write_text(
            json.dumps({"step": 1, "images": 8, "seconds": 1, "sha256": said, "scaler": None})
        )
        with suppress(SafetensorError):
            package.run(recipe, tmp_path / "out", only="teacher")
    elif name == "pairs.safetensors":
        (tmp_path / "pairs").mkdir()
        (tmp_path / "pairs" / name).write_bytes(bomb.getvalue())
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
    else:
        (model / name).write_bytes(bomb.getvalue())
        assert "damaged weights" in refused("sample", model)
        (model / "fastdiff.json").unlink()
        assert "cannot be loaded" in refused("sample", model)
    assert not (tmp_path / "marker").exists()


# ---- paths


def sharded(model, file):
    (model / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"conv_in.weight": file}}))
    (model / WEIGHTS).unlink()


@pytest.mark.parametrize(
    "file", ["../../other.safetensors", "{tmp}/other.safetensors", "..", "sub/x.safetensors", "x.bin"]
)
@pytest.mark.parametrize("kind", ["a plain pipeline", "an export"])
def test_an_index_names_files_beside_it_alone(model, file, kind, refused, tmp_path):
    save_file({"conv_in.weight": torch.ones(1)}, tmp_path / "other.safetensors")
    if kind == "a plain pipeline":
        (model / "fastdiff.json").unlink()
    sharded(model, file.format(tmp=tmp_path))
    assert "weight_map names" in refused("sample", model)


@pytest.mark.parametrize(
    "index", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', '{"weight_map": {"a": []}}', DEEP]
)
def test_an_index_of_another_shape_is_damaged(plain, index, refused):
    sharded(plain, "x.safetensors")
    (plain / INDEX).write_text(index)
    assert "index.json is damaged" in refused("sample", plain)


@pytest.mark.parametrize("network", ["../../other", "/etc", "unet/../../x", ["unet"], {}, 7, None, "gan"])
def test_networks_are_those_that_are_known(model, network, refused):
    change(model / "fastdiff.json", network=network)
    assert "fastdiff.json is damaged (network: input should be 'unet', 'mlp', 'text_unet'" in refused(
        "sample", model
    )


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


# ---- numbers


@pytest.mark.parametrize("keys, said", [
    ({"shape": [3, 100_000, 100_000]}, "shape"), ({"shape": [100_000, 100_000, 3]}, "shape"),
    ({"shape": [1, -8, 8]}, "shape"), ({"shape": [10**400]}, "shape"), ({"shape": []}, "shape"), ({"shape": "888"}, "shape"),
    ({"shape": None}, "shape"),
    ({"shape": [3, 8, 8]}, "makes no samples of shape"), ({"shape": [1]}, "makes no samples of shape"),
    ({"sigma_data": float("nan")}, "sigma_data"), ({"sigma_data": -1}, "sigma_data"), ({"sigma_data": 1e999}, "sigma_data"),
    ({"schedule": {"name": "ddpm", "t_max": 1e12}}, "t_max"), ({"schedule": {"name": "vp", "t_max": -1}}, "t_max"),
    ({"schedule": {"name": "cosine", "t_max": float("nan")}}, "t_max"), ({"schedule": {"name": "no"}}, "schedule: 'no'"),
    ({"schedule": {"name": "sigmoid", "tau": 0}}, "schedule"),
    ({"schedule": {"name": "sigmoid", "start": -1e9}}, "schedule"),
    ({"schedule": {"name": "sigmoid", "end": -3}}, "schedule"),
    ({"schedule": {"name": "cosine", "beta": 1}}, "schedule.beta is unknown"), ({"schedule": [1]}, "schedule"),
    ({"schedule": {"name": "ddpm", "betas": [2.0], "t_max": 1}}, "betas"),
    ({"predicts": "x"}, "predicts"), ({"predicts": ["v"]}, "predicts"), ({"time_input": {}}, "time_input"),
    ({"sampling": {"sampler": "ddim", "spacing": "uniform", "steps": [10**12]}}, "sampling.steps"),
    ({"sampling": {"sampler": "ddim", "spacing": "uniform", "steps": [0]}}, "sampling.steps"),
    ({"sampling": {"sampler": "ddim", "spacing": "uniform", "steps": []}}, "sampling.steps"),
    ({"sampling": {"sampler": "ddim", "spacing": "uniform", "steps": [1], "times": [[float("inf")]]}}, "sampling.times"),
    ({"sampling": {"sampler": "ddim", "spacing": "uniform", "steps": [1], "hook": "x"}}, "sampling.hook is unknown"),
    ({"sampling": {"sampler": "no", "spacing": "uniform", "steps": [1]}}, "sampler 'no' is unknown"),
    ({"sampling": {"sampler": "ddim", "spacing": "uniform", "steps": [1], "times": [[1e300]]}}, "expected falling times"),
    ({"sampling": 7}, "sampling"), ({"guidance": {"weights": [1]}}, "guidance"), ({"guidance": 3}, "guidance"),
    ({"weights": 7}, "weights"), ({"weights": "../../x"}, "weights"), ({"weights": "0" * 64}, "wrong checksum"),
    ({"cost": [1]}, "cost"), ({"ema": "x"}, "ema"), ({"method": {"a": 1}}, "method"), ({"params": "many"}, "params"),
])  # fmt: skip
def test_what_fastdiff_json_may_say(model, keys, said, refused):
    change(model / "fastdiff.json", **keys)
    start = time.monotonic()
    assert said in refused("sample", model)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "keys",
    [
        {"block_out_channels": [1 << 20]},
        {"block_out_channels": [10**30]},
        {"layers_per_block": 10**9},
        {"in_channels": 10**6},
        {"layers_per_block": "many"},
        {"norm_num_groups": 0},
        {"norm_num_groups": 3},
        {"down_block_types": ["os.system"]},
        {"down_block_types": 7},
        {"act_fn": "exec"},
        {"class_embed_type": "identity"},
        {"num_class_embeds": 10**9},
        {"dropout": 2},
        {"out_channels": 7},
        {"time_embedding_type": "x"},
        {"block_out_channels": None},
        # fmt: skip
        {"sample_size": 10**6},
        {"sample_size": "x"},
        {"sample_size": -1},
        {"sample_size": None},
    ],
    ids=str,
)
def test_a_network_is_no_larger_than_its_weights(plain, keys, refused):
    change(plain / "unet/config.json", **keys)
    start = time.monotonic()
    assert f"{plain}: cannot be loaded as a diffusers model (" in refused("sample", plain)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("keys", [
    {"num_train_timesteps": 10**12}, {"num_train_timesteps": 0}, {"num_train_timesteps": "x"}, {"beta_start": float("nan")},
    {"beta_schedule": "os.system"}, {"trained_betas": [9.0] * 1000}, {"trained_betas": 7}, {"prediction_type": []},
    {"rescale_betas_zero_snr": "perhaps"}, {"trained_betas": {"a": 1}}], ids=str)  # fmt: skip
def test_what_a_scheduler_may_say(plain, keys, refused):
    change(plain / "scheduler/scheduler_config.json", **keys)
    start = time.monotonic()
    assert f"{plain}: cannot be loaded as a diffusers model (" in refused("sample", plain)
    assert time.monotonic() - start < 5


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
    assert (code, err) == (0, "") and (file != "fastdiff.json" or "damaged" in out)


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


@pytest.mark.parametrize("name, value", [
    ("model", 7), ("steps", "one"), ("steps", 1.5), ("fid", "low"), ("fid", [1]), ("fid_se", {}), ("nfe", "x"),
    ("seed", "a"), ("cell", 7), ("method", [1]), ("guidance", "w"), ("ms_per_image", []), ("broken", 3), ("clip", {}),
    ("n", "8"), ("versions", 7), ("processes", "x"), ("device", []), ("commit", 7), ("classes_digits", 7), ("teacher", "x"),
    ("train_images", "x"), ("metrics", 7), ("params", "x"), ("peak_mb", "x"), ("dims", "x")])  # fmt: skip
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
        "--against",
        "",
        "--n",
        8,
        "--out",
        tmp_path / "out",
    ]
    assert f"extractor {features} is damaged" in refused(*words)


# ---- recipes


CODE = {
    "os.system": "!!python/object/apply:os.system ['mkdir {marker}']",
    "subprocess": "!!python/object/apply:subprocess.check_call [[mkdir, '{marker}']]",
    "eval": '!!python/object/new:eval [\'__import__("os").mkdir("{marker}")\']',
    "name": "!!python/name:os.system",
}


@pytest.mark.parametrize("code", list(CODE))
@pytest.mark.parametrize("place", ["recipe", "override", "include", "the run's recipe"])
def test_a_recipe_runs_no_code(code, place, recipe, refused, tmp_path):
    text, words, marker = (
        CODE[code].format(marker=tmp_path / "marker"),
        ["run", recipe, "--out", tmp_path / "out"],
        "recipe",
    )
    if place == "override":
        words.append(f"train.steps={text}")
        marker = "override"
    elif place == "include":
        (tmp_path / "other.yaml").write_text(f"name: {text}\n")
        recipe.write_text(recipe.read_text() + "include: [other.yaml]\n")
    elif place == "the run's recipe":
        (tmp_path / "out").mkdir()
        (tmp_path / "out/recipe.yaml").write_text(f"name: {text}\n")
    else:
        recipe.write_text(f"name: {text}\n")
    said = refused(*words)
    assert marker in said and "not valid YAML (could not determine a constructor for the tag" in said
    assert not (tmp_path / "marker").exists()


BILLION = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
MERGED = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 10)}]}}\n"
    for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    "text, said",
    [
        (DEEP, "nested too deep"),
        ("{a: " * 100_000, "nested too deep"),
        ("- " * 100_000, "nested too deep"),
        ("a: &a [*a]", "an anchor contains itself"),
        ("&a {a: *a}", "an anchor contains itself"),
        (BILLION, "its aliases stand for"),
        (MERGED, "its aliases stand for"),
    ],
    ids=range(7),
)
@pytest.mark.parametrize("place", ["recipe", "override", "include"])
def test_yaml_that_grows(text, said, place, recipe, refused, tmp_path):
    words = ["run", recipe, "--out", tmp_path / "out"]
    if place == "override":
        words.append(f"train.steps={text}")
    elif place == "include":
        (tmp_path / "other.yaml").write_text(text)
        recipe.write_text(recipe.read_text() + "include: [other.yaml]\n")
    else:
        recipe.write_text(text)
    start = time.monotonic()
    assert said in refused(*words)
    assert time.monotonic() - start < 10


def test_an_override_of_100_000_keys(recipe, refused, tmp_path):
    assert "no setting lies below" in refused(
        "run", recipe, "bench.n" + ".a" * 100_000 + "=1", "--out", tmp_path / "out"
    )


# ---- images


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png():
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "png")
    return file.getvalue()


def eps():
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "eps")
    return file.getvalue()


HUGE = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(bytes(100)))
    + chunk(b"IEND", b"")
)
IMAGES = {
    "huge": HUGE,
    "cut": png()[:100],
    "text": b"a picture",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "nothing": b"",
    "a program of PostScript": eps(),
}


@pytest.mark.parametrize("name", list(IMAGES))
def test_images_that_are_none(name, model, refused, tmp_path):
    assert len(HUGE) < 500
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(IMAGES[name])
    table = datasets.Dataset.from_dict(
        {"image": [{"bytes": IMAGES[name], "path": None}]},
        features=datasets.Features({"image": datasets.Image(decode=False)}),
    )
    table.cast_column("image", datasets.Image()).to_parquet(tmp_path / "a.parquet")
    Image.new("L", (8, 8)).save(tmp_path / "good.png")
    out = ["--out", tmp_path / "out"]
    for words in (
        ["bench", model, "--data", folder, *out],
        ["bench", model, "--data", tmp_path / "a.parquet", *out],
        ["sample", model, "--image", folder / "a.png", *out],
        ["sample", model, "--image", folder, *out],
        ["sample", model, "--image", tmp_path / "good.png", "--mask", folder / "a.png", *out],
        ["evaluate", folder, "--data", "digits"],
    ):
        assert "not a readable image (" in refused(*words), words
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", ["{tmp}/none.png", "http://127.0.0.1:9/a.png", None])
def test_a_table_fetches_nothing(path, model, refused, tmp_path):
    table = datasets.Dataset.from_dict(
        {"image": [{"bytes": None, "path": path and path.format(tmp=tmp_path)}]},
        features=datasets.Features(
            {"image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
        ),
    )
    table.to_parquet(tmp_path / "a.parquet")
    data = f"{{name: {tmp_path / 'a.parquet'}, column: image}}"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    assert "row 0 of" in (said := refused("run", recipe, f"data={data}", "--out", tmp_path / "out")), said


@pytest.mark.parametrize("name", list(IMAGES))
def test_sheets_of_a_run_that_are_none(name, refused, tmp_path):
    row = {
        "key": "k",
        "model": "m",
        "sampler": "ddim",
        "spacing": "uniform",
        "steps": 1,
        "n": 8,
        "seed": 0,
        "fid": 1.0,
        "cell": "m-1",
    }
    (tmp_path / "samples").mkdir()
    (tmp_path / "bench.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "samples/m-1.png").write_bytes(IMAGES[name])
    assert "expected a PNG picture (" in refused("report", tmp_path)


# ---- the hub


OLD, NEW = "a" * 40, "b" * 40


def snapshot(cache, source, commit, name="user--model"):
    """A commit of a model in the hub's cache, as the newest."""
    repository = cache / f"models--{name}"
    shutil.copytree(source, repository / "snapshots" / commit)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs/main").write_text(commit)
    return repository / "snapshots" / commit


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def scaled(model, factor):
    for p in model.parameters():
        p.mul_(factor)
    return model


def test_a_hub_id_is_a_folder_of_the_cache(trained, cache):
    snapshot(cache, trained, OLD)
    old = package.load("user/model")
    export(scaled(package.load(trained), 2), snapshot(cache, trained, NEW), {})
    weight = lambda name: next(package.load(name).parameters())  # noqa: E731
    assert torch.equal(weight("user/model"), 2 * next(old.parameters()))
    assert torch.equal(weight(f"user/model@{OLD}"), next(old.parameters()))
    assert torch.equal(weight("user/model@main"), weight(f"user/model@{NEW}"))


@pytest.mark.parametrize("name", ["user/nosuch", "user/model@nosuch", f"user/model@{'c' * 40}"])
def test_what_the_cache_lacks_is_one_line(trained, cache, name, refused):
    snapshot(cache, trained, OLD)
    assert f"{name}: " in (said := refused("sample", name)) and "not to be had from the hub: " in said
    assert "no such folder" in refused("sample", f"models/{name}") and "no such folder" in refused(
        "sample", f"./{name}"
    )


def test_pickled_weights_of_the_hub_are_refused(trained, cache, refused, tmp_path):
    folder = snapshot(cache, trained, OLD)
    (folder / WEIGHTS).unlink()
    torch.save({"weight": Bomb(tmp_path / "marker")}, folder / "unet/diffusion_pytorch_model.bin")
    assert "diffusion_pytorch_model.bin is pickled, which could run code" in refused("sample", "user/model")
    assert not (tmp_path / "marker").exists()


def test_a_run_keeps_to_the_commits_that_it_began_with(trained, cache, tmp_path):
    """A copy of the hub moves on between two stages of a run: it goes on with what it began with; a new run does not."""
    from fastdiff.runs import recipe as recipes

    stage = {"method": {"name": "progressive", "steps": 2}, "teacher": "user/model"}
    source = RECIPE | {
        "data": {"name": "digits"},
        "model": {"net": {"name": "unet", "channels": [8], "layers": 1}},
        "stages": {"one": stage, "two": stage},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(source))
    first = package.load(snapshot(cache, trained, OLD))

    def run(stage, out):
        package.run(recipes.load(tmp_path / "recipe.yaml"), tmp_path / out, only=stage)
        return json.loads((tmp_path / out / stage / "fastdiff.json").read_text())["origin"]

    assert run("one", "run")["teacher"] == f"user/model@{OLD}" == run("one", "run")["init"]
    assert json.loads((tmp_path / "run/pins.json").read_text()) == {"user/model": OLD}
    export(scaled(first, 2), snapshot(cache, trained, NEW), {})
    assert run("two", "run")["teacher"] == f"user/model@{OLD}"
    assert run("one", "run")["teacher"] == f"user/model@{OLD}"  # not stale: nothing is trained again
    assert json.loads((tmp_path / "run/pins.json").read_text()) == {"user/model": OLD}
    assert run("one", "another")["teacher"] == f"user/model@{NEW}"


def test_data_of_the_hub_are_pinned_too(cache, tmp_path):
    from fastdiff.runs.hub_pins import pin
    from fastdiff.runs.recipe import build

    refs = cache / "datasets--user--data/refs"
    refs.mkdir(parents=True)
    (cache / f"datasets--user--data/snapshots/{OLD}").mkdir(parents=True)
    (refs / "main").write_text(OLD)
    for data in ("user/data", {"name": "hub", "path": "user/data"}):
        pinned, pins = pin(build(RECIPE | {"data": data}), tmp_path / "run")
        assert (
            pins == {"datasets/user/data": OLD} and pinned.revision == OLD and pinned.source["data"] == data
        )
    (tmp_path / "run").mkdir()
    (tmp_path / "run/pins.json").write_text(json.dumps({"datasets/user/data": NEW}))
    assert pin(build(RECIPE | {"data": "user/data"}), tmp_path / "run")[0].revision == NEW
    with pytest.raises(FastdiffError, match="user/data"):
        pinned.dataset()  # asked for, and not prepared here
    assert pin(build(RECIPE), tmp_path / "other")[1] == {}


# ---- the package itself


TREES = {path: ast.parse(path.read_text()) for path in sorted(HOUSE.rglob("*.py"))}


def dotted(node):
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "")


@pytest.mark.parametrize("path", TREES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_nothing_in_the_package_runs_what_it_reads(path):
    assert "trust_remote_code" not in path.read_text()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Attribute) and dotted(node).startswith("pickle."):
            assert dotted(node) == "pickle.UnpicklingError"
        if isinstance(node, ast.ImportFrom):
            assert node.module not in ("pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle")
        if not isinstance(node, ast.Call):
            continue
        name, given = dotted(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert name not in (
            "eval",
            "exec",
            "compile",
            "__import__",
            "os.system",
            "os.popen",
            "yaml.load",
            "yaml.full_load",
            "yaml.unsafe_load",
            "torch.hub.load",
            "torch.jit.load",
            "runpy.run_path",
        )
        assert name != "torch.load" or given["weights_only"] == "True"
        assert given.get("shell", "False") == "False" and given.get("allow_pickle", "False") == "False"
        assert given.get("use_safetensors", "True") == "True"
        if name.endswith(".from_pretrained"):
            assert "use_safetensors" in given or name.startswith("tokenizer.")  # which have no weights
