"""Pickles are refused: none of their code runs, and the line that converts them runs none either."""

import io
import json
import pickle
import shlex
import sys
from contextlib import suppress

import pytest
import torch
import yaml
from safetensors import SafetensorError

import fastdiff as package
from tests.helpers.damage import RECIPE, WEIGHTS, Bomb

pytestmark = pytest.mark.usefixtures("little_memory")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


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
