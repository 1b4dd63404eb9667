"""Models on disk: pipelines of diffusers are denoisers, and damage is named."""

import shutil
import subprocess
import sys

import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel

from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import DDPM
from fastdiff.io.load import load
from fastdiff.samplers.generate import sample
from tests.helpers.stock_pipelines import INDEX, SHAPE, WEIGHTS, draws, ours, theirs, tiny

# ---- theirs in fastdiff


@pytest.mark.parametrize(
    ("entries", "options"),
    [
        (1000, {}),
        (100, {}),
        (1000, {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}),
        (
            1000,
            {
                "beta_schedule": "scaled_linear",
                "beta_start": 0.00085,
                "beta_end": 0.012,
                "prediction_type": "sample",
            },
        ),
    ],
)
@pytest.mark.parametrize("steps", [1, 4, 10])
def test_a_diffusers_pipeline_is_a_denoiser(tmp_path, entries, options, steps):
    scheduler = DDPMScheduler(num_train_timesteps=entries, clip_sample=False, **options)
    DDPMPipeline(tiny().net.module, scheduler).save_pretrained(tmp_path)
    model = load(tmp_path)
    assert isinstance(model.schedule, DDPM) and model.shape == SHAPE and not model.training
    ddim = DDIMScheduler.from_config(scheduler.config, timestep_spacing="trailing")
    wanted = theirs(UNet2DModel.from_pretrained(tmp_path, subfolder="unet"), ddim, steps)
    torch.testing.assert_close(ours(model, "ddim", steps, "trailing"), wanted, rtol=1e-3, atol=1e-4)
    ddpm = DDPMScheduler.from_config(scheduler.config, timestep_spacing="trailing")
    wanted = theirs(model.net.module, ddpm, steps, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(
        ours(model, "ddpm", steps, "trailing", randn=draws()), wanted, rtol=1e-3, atol=1e-4
    )


def test_nothing_is_unpickled(copy):
    for name in ("fastdiff.json", WEIGHTS):
        (copy / name).unlink()
    torch.save(tiny().net.module.state_dict(), copy / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(FastdiffError, match="diffusion_pytorch_model.bin is pickled, which could run code"):
        load(copy)


# ---- damage


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


ABOUT = "fastdiff.json"


DAMAGE = {
    "weights cut": (lambda at: cut(at / WEIGHTS), "damaged weights"),
    "one bit of the weights": (lambda at: flip(at / WEIGHTS), "damaged weights"),
    "weights gone": (lambda at: (at / WEIGHTS).unlink(), "missing its weights"),
    "network gone": (lambda at: shutil.rmtree(at / "unet"), "missing its weights"),
    "config cut": (lambda at: cut(at / "unet/config.json"), "damaged"),
    "config gone": (lambda at: (at / "unet/config.json").unlink(), "damaged"),
    "about cut": (lambda at: cut(at / ABOUT), "damaged"),
    "about empty": (lambda at: (at / ABOUT).write_text("{}"), "damaged"),
    "about of another kind": (lambda at: (at / ABOUT).write_text("[1]"), "damaged"),
    "about in no text": (lambda at: (at / ABOUT).write_bytes(b"\xff\xfe\x00"), "damaged"),
    "plain, weights cut": (lambda at: ((at / ABOUT).unlink(), cut(at / WEIGHTS)), "cannot be loaded"),
    "plain, weights gone": (
        lambda at: ((at / ABOUT).unlink(), (at / WEIGHTS).unlink()),
        "has a config.json and no weights",
    ),
    "plain, config cut": (
        lambda at: ((at / ABOUT).unlink(), cut(at / "unet/config.json")),
        "cannot be loaded",
    ),
    "plain, scheduler gone": (
        lambda at: ((at / ABOUT).unlink(), shutil.rmtree(at / "scheduler")),
        "cannot be loaded",
    ),
    "plain, index cut": (lambda at: ((at / ABOUT).unlink(), cut(at / INDEX)), "cannot be loaded"),
    "no model": (
        lambda at: ((at / ABOUT).unlink(), (at / INDEX).unlink()),
        "is not a model: expected fastdiff.json or",
    ),
    "no folder": (lambda at: shutil.rmtree(at), "no such folder"),
}


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_damage_is_named_in_one_line(copy, damage):
    inflict, message = DAMAGE[damage]
    inflict(copy)
    with pytest.raises(FastdiffError, match=message) as caught:
        load(copy)
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


@pytest.mark.parametrize("path", ["teacher", "./teacher", "~/no/such/teacher", "a/b/c", "runs/teacher"])
def test_what_looks_like_a_path_is_not_looked_up_elsewhere(tmp_path, monkeypatch, path):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FastdiffError, match="no such folder"):
        load(path)


@pytest.mark.long
def test_loading_a_model_imports_no_export(folder):
    """`load` reads models; what writes cards, scripts, pipelines and schedulers stays out of it."""
    code = (
        f"import sys, fastdiff; fastdiff.load({str(folder)!r})\n"
        "print([name for name in sys.modules if name.startswith('fastdiff.io.export')])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()[-1] == "[]"


@pytest.mark.parametrize("dtype", [torch.bfloat16, "bfloat16", "fp16"])
def test_weights_in_another_type(opened, dtype):
    _, model, folder = opened("sd")
    half = load(folder, dtype=dtype)
    kinds = {p.dtype for p in half.parameters()}
    assert kinds == {torch.float16 if dtype == "fp16" else torch.bfloat16}
    assert next(half.text.parts["text_encoder"].parameters()).dtype in kinds
    assert half.latent.module.dtype == torch.float32
    if dtype != "fp16":  # which has no convolutions on some CPUs
        images, wanted = (sample(m, "ddim", 2, n=1, prompts="a cat", guidance=2.0) for m in (half, model))
        assert images.dtype == torch.float32
        torch.testing.assert_close(images, wanted, rtol=0, atol=0.1)
    with pytest.raises(FastdiffError, match="dtype = int8: expected float32, float16 or bfloat16"):
        load(folder, dtype="int8")


def test_an_open_pipeline(opened, tmp_path):
    pipeline, model, _ = opened("dit")
    taken = load(pipeline)
    assert taken.schedule == model.schedule and taken.sampling == model.sampling
    assert all(torch.equal(a, b) for a, b in zip(taken.parameters(), model.parameters(), strict=True))
    assert sample(pipeline, steps=1, n=1, labels=3).shape == (1, 3, 16, 16)
    with pytest.raises(FastdiffError, match="expected a folder, a hub id or a pipeline"):
        load(3)
