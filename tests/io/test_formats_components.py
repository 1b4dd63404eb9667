"""Folders of pipelines: what is damaged, unknown or newer in them."""

import json
import shutil

import diffusers
import pytest
import torch

import fastdiff
from fastdiff.core.errors import FastdiffError
from fastdiff.io.load import load
from tests.helpers import tiny_pipelines as tiny
from tests.helpers.opened_pipelines import noise


def edited(path, **change):
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


BAD = {
    "prediction": (
        "sd",
        lambda at: edited(at / "scheduler/scheduler_config.json", prediction_type="flow_prediction"),
        "scheduler.prediction_type: expected epsilon, v_prediction or sample",
    ),
    "betas": (
        "sd",
        lambda at: edited(at / "scheduler/scheduler_config.json", beta_schedule="laplace"),
        "scheduler.beta_schedule: expected",
    ),
    "scheduler": (
        "sd",
        lambda at: edited(at / "scheduler/scheduler_config.json", _class_name="EDMEulerScheduler"),
        "scheduler: this 'EDMEulerScheduler' is not supported for this network, expected one of DDPM",
    ),
    "a table for a flow": (
        "sd3",
        lambda at: edited(at / "scheduler/scheduler_config.json", _class_name="DDIMScheduler"),
        "expected one of FlowMatchEulerDiscreteScheduler",
    ),
    "inverted flow": (
        "sd3",
        lambda at: edited(at / "scheduler/scheduler_config.json", invert_sigmas=True),
        "scheduler.invert_sigmas: expected False",
    ),
    "consistency at another sigma_min": (
        "cm",
        lambda at: edited(at / "scheduler/scheduler_config.json", sigma_min=0.01),
        "scheduler.sigma_min",
    ),
    "network": (
        "sd",
        lambda at: edited(at / "model_index.json", unet=["diffusers", "Kandinsky3UNet"]),
        "unet: \\['diffusers', 'Kandinsky3UNet'\\] is not supported, expected a UNet2DConditionModel",
    ),
    "text encoder": (
        "sd",
        lambda at: edited(at / "model_index.json", text_encoder=["evil", "Model"]),
        "text_encoder: this 'Model' is not supported, only CLIPTextModel",
    ),
    "text encoder gone": ("sd", lambda at: shutil.rmtree(at / "text_encoder"), "text_encoder cannot be read"),
    "text encoder left out": (
        "sd3",
        lambda at: edited(at / "model_index.json", text_encoder_3=[None, None]),
        "text_encoder_3 is missing from the pipeline",
    ),
    "tokenizer gone": ("sd", lambda at: shutil.rmtree(at / "tokenizer"), "tokenizer cannot be read"),
    "text encoder pickled": (
        "sd",
        lambda at: (at / "text_encoder/model.safetensors").rename(at / "text_encoder/pytorch_model.bin"),
        "pytorch_model.bin is pickled, which could run code",
    ),
    "vae gone": ("sd", lambda at: shutil.rmtree(at / "vae"), "has no vae"),
    "vae of another kind": (
        "sd",
        lambda at: edited(at / "vae/config.json", _class_name="AutoencoderDC"),
        "this 'AutoencoderDC' is not supported, only AutoencoderKL",
    ),
    "size": ("pixels", lambda at: edited(at / "unet/config.json", sample_size=None), "sample_size"),
}


@pytest.mark.parametrize("what", list(BAD))
def test_what_is_wrong_is_named_in_one_line(opened, tmp_path, what):
    name, spoil, message = BAD[what]
    folder = shutil.copytree(opened(name)[2], tmp_path / "model")
    spoil(folder)
    with pytest.raises(FastdiffError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_a_vae_that_does_not_fit_is_told(opened, tmp_path):
    folder = shutil.copytree(opened("sd")[2], tmp_path / "model")
    shutil.rmtree(folder / "vae")
    tiny.vae(latents=16).save_pretrained(folder / "vae")
    with pytest.raises(
        FastdiffError, match="an autoencoder of 16 latent channels does not fit a network whose"
    ):
        load(folder)


def test_unknown_keys_of_newer_versions_are_ignored(opened, tmp_path):
    _, model, folder = opened("sd")
    folder = shutil.copytree(folder, tmp_path / "model")
    for name in (
        "unet/config.json",
        "vae/config.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
    ):
        edited(folder / name, novelty=[1, 2])
    x, t, cond = noise(1, 4, 8, 8), torch.tensor(500.0), model.text.encode(["a"])
    assert torch.equal(load(folder)(x, t, cond=cond).x0, model(x, t, cond=cond).x0)


def test_shards_that_do_not_add_up_are_told(opened, tmp_path):
    folder = shutil.copytree(opened("sd")[2], tmp_path / "model")
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet", max_shard_size="20KB")
    parts = sorted((folder / "unet").glob("*.safetensors"))
    assert len(parts) > 1 and fastdiff.load(folder).net is not None
    parts[0].unlink()
    with pytest.raises(FastdiffError, match=f"{parts[0].name}, which is missing"):
        load(folder)
