"""What a stranger sends as a model is refused in one line: no path leads out, no memory goes."""

import json
import os
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.damage import DEEP, INDEX, WEIGHTS, change

pytestmark = pytest.mark.usefixtures("little_memory")


def test_weights_beside_those_of_the_checksum_are_refused(model, refused):
    """diffusers would read what an index names, whatever file the checksum is of."""
    place = model / "unet"
    shutil.copy(place / "diffusion_pytorch_model.safetensors", place / "other.safetensors")
    names = load_file(place / "other.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "other.safetensors")}
    (place / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    assert "expected one file; copy it again" in refused("sample", model)


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
    assert "not a file" in refused("sample", model)


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
        {"sample_size": 10**6},
        {"sample_size": "x"},
        {"sample_size": -1},
        {"sample_size": None},
    ],
    ids=str,
)
def test_a_network_is_no_larger_than_its_weights(plain, keys, refused):
    change(plain / "unet/config.json", **keys)
    start = time.process_time()
    assert f"{plain}: cannot be loaded as a diffusers model (" in refused("sample", plain)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "keys",
    [
        {"num_train_timesteps": 10**12},
        {"num_train_timesteps": 0},
        {"num_train_timesteps": "x"},
        {"beta_start": float("nan")},
        {"beta_schedule": "os.system"},
        {"trained_betas": [9.0] * 1000},
        {"trained_betas": 7},
        {"prediction_type": []},
        {"rescale_betas_zero_snr": "perhaps"},
        {"trained_betas": {"a": 1}},
    ],
    ids=str,
)
def test_what_a_scheduler_may_say(plain, keys, refused):
    change(plain / "scheduler/scheduler_config.json", **keys)
    start = time.process_time()
    assert f"{plain}: cannot be loaded as a diffusers model (" in refused("sample", plain)
    assert time.process_time() - start < 5
