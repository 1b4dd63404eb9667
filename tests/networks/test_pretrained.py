"""Weights in a network's folder: nothing pickled, nothing missing, and no more than the settings say."""

import json

import pytest
import torch
from diffusers import UNet2DModel
from torch import nn

from fastdiff.networks import unet
from fastdiff.networks.pretrained import (
    UnreadWeights,
    check_present,
    check_weights,
    class_of,
    digest,
    opened,
    stored,
)

INDEX = "diffusion_pytorch_model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    unet((1, 8, 8), channels=(8, 8), layers=1, groups=4).module.save_pretrained(tmp_path / "unet")
    return tmp_path / "unet"


def test_a_stored_module_comes_back(folder):
    module = opened(UNet2DModel, folder)
    again = opened(UNet2DModel, folder)
    assert digest(module) == digest(again)
    assert sum(stored(folder)) == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers_per_block": 500}, "layers_per_block is 500, for weights of [0-9]+ tensors"),
        ({"block_out_channels": [8192, 8192]}, "it describes [0-9,]+ numbers, but the weights hold [0-9,]+$"),
        ({"mid_block_type": None}, "the weights and the network differ in mid_block[.]"),
        ({"block_out_channels": [8, 4]}, "down_blocks.1.*expected shape"),
    ],
)
def test_settings_that_are_not_those_of_the_weights_are_refused(folder, change, message):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=rf"^unet/config.json or its weights: .*({message})"):
        opened(UNet2DModel, folder)


def test_an_index_names_files_that_are_there(tmp_path):
    def complaint(names):
        (tmp_path / INDEX).write_text(json.dumps({"weight_map": names}))
        with pytest.raises(UnreadWeights) as caught:
            check_weights(tmp_path)
        return str(caught.value).removeprefix(str(tmp_path / INDEX))

    (tmp_path / "a.safetensors").write_bytes(b"")
    assert complaint({"x": "../a.safetensors"}) == (
        ": weight_map names '../a.safetensors', expected safetensors files in that folder"
    )
    assert complaint({"x": "a.safetensors", "y": "b.safetensors"}).startswith(
        " names b.safetensors, which is"
    )
    assert complaint({"x": 7}).startswith(" is damaged (TypeError: weight_map names no files)")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"x": "a.safetensors"}}))
    check_weights(tmp_path)


def test_pickled_weights_are_refused_with_the_line_that_converts_them(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(UnreadWeights, match="model.bin is pickled.* from diffusers import UNet2DModel as U"):
        check_weights(tmp_path)
    for config, wanted in (
        ({"_class_name": "AutoencoderKL"}, ("diffusers", "AutoencoderKL")),
        ({"architectures": ["CLIPTextModel"]}, ("transformers", "CLIPTextModel")),
        ({"_class_name": "os; import sys"}, ("diffusers", "UNet2DModel")),  # goes into a line of code
        ({"architectures": []}, ("diffusers", "UNet2DModel")),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert class_of(tmp_path) == wanted
    (tmp_path / "model.safetensors").write_bytes(b"")  # the pickle is not read then
    check_weights(tmp_path)


def test_a_digest_depends_on_names_values_and_the_rest():
    def linear(value):
        net = nn.Linear(1, 1)
        nn.init.constant_(net.weight, value)
        nn.init.zeros_(net.bias)
        return net

    wrapped = nn.Sequential(linear(1.0))
    digests = [digest(linear(1.0)), digest(linear(2.0)), digest(wrapped), digest(linear(1.0), "more")]
    assert len(set(digests)) == 4 and digest(linear(1.0)) == digests[0]


def test_a_variant_alone_is_named_with_the_way_on(tmp_path):
    net = unet((1, 8, 8), channels=(8, 8), layers=1, groups=4).module
    net.save_pretrained(tmp_path / "one", variant="fp16")
    with pytest.raises(
        UnreadWeights, match="only the variant fp16 .*: rename it to diffusion_pytorch_model.s"
    ):
        check_weights(tmp_path / "one")
    net.save_pretrained(tmp_path / "many", variant="fp16", max_shard_size="20KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    with pytest.raises(
        UnreadWeights, match="only the variant fp16 .*: save it without the variant, python -c"
    ):
        check_weights(tmp_path / "many")
    net.save_pretrained(tmp_path / "one")  # beside the plain files a variant is not read
    check_weights(tmp_path / "one")
    assert digest(opened(UNet2DModel, tmp_path / "one")) == digest(net)


def test_weights_that_are_not_there_are_said(folder):
    [weights] = folder.glob("*.safetensors")
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n")
    with pytest.raises(
        UnreadWeights, match="is a pointer of git-lfs without the weights: run `git lfs pull`"
    ):
        check_weights(folder)
    weights.unlink()
    for check in (check_present, lambda folder: opened(UNet2DModel, folder)):
        with pytest.raises(UnreadWeights, match="unet has a config.json and no weights"):
            check(folder)
