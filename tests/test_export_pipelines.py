"""Students of latents and prompts in diffusers' hands: the script in each card makes the pixels of our sampler."""

import re

import pytest
import tiny_pipelines as tiny
import torch
from diffusers import DiffusionPipeline, LCMScheduler

from fastdiff.checkpoint import export, load
from fastdiff.denoiser import Denoiser, Sampling, with_guidance, with_second_time
from fastdiff.generate import conditions, plan
from fastdiff.guidance import Guided, usual_guidance
from fastdiff.networks import unet
from fastdiff.networks.latent import Autoencoder
from fastdiff.samplers import SAMPLERS
from fastdiff.schedule import Cosine
from fastdiff.script import script

DDIM, LCM, EULER = (Sampling(name, "uniform", (2,)) for name in ("ddim", "consistency", "euler"))
UNEVEN = Sampling("consistency", "trailing", (3,))
# name: the pipeline that it begins from, how the student is sampled, and what of diffusers its script calls
KINDS = {
    "stable diffusion": (tiny.stable_diffusion, DDIM, "StableDiffusionPipeline"),
    "stable diffusion, consistency": (tiny.stable_diffusion, LCM, "StableDiffusionPipeline"),
    "stable diffusion, three steps": (tiny.stable_diffusion, UNEVEN, "StableDiffusionPipeline"),
    "sdxl": (tiny.sdxl, LCM, "StableDiffusionXLPipeline"),
    "lcm": (lambda at: tiny.stable_diffusion(at, "LatentConsistencyModelPipeline", LCMScheduler(), time_cond_proj_dim=8),
            None, "LatentConsistencyModelPipeline"),
    "pixart": (lambda at: tiny.pixart("PixArtSigmaPipeline"), DDIM, "PixArtSigmaPipeline"),
    "sd3": (tiny.sd3, EULER, "StableDiffusion3Pipeline"),
    "sd3, its own grid": (tiny.sd3, None, "StableDiffusion3Pipeline"),
    "flux": (tiny.flux, EULER, "FluxPipeline"),
    "schnell": (lambda at: tiny.flux(at, guided=False), EULER, "FluxPipeline"),
    "dit": (lambda at: tiny.dit(), DDIM, "DiTTransformer2DModel"),
    "dit, consistency": (lambda at: tiny.dit(), LCM, "DiTTransformer2DModel"),
    "latents": (lambda at: tiny.ldm(), LCM, "UNet2DModel"),
    "consistency models": (lambda at: tiny.consistency(), None, "ConsistencyModelPipeline"),
    "consistency models by class": (lambda at: tiny.consistency(classes=5), None, "UNet2DModel"),
}


def opened(kind, folder):
    """A model of a tiny pipeline, to be sampled as a student of it would be."""
    make, sampling, _ = KINDS[kind]
    torch.manual_seed(0)
    tiny.alive(make(folder / "tokens")).save_pretrained(folder / "theirs")
    model = load(folder / "theirs")
    model.sampling = sampling or model.sampling
    if kind == "latents":                        # a VQModel draws its codes by the last digit
        model.latent = Autoencoder.of(tiny.vae(3, shift_factor=0.1))
    return model


@torch.no_grad()
def ours(model, n, noise):
    """Pictures in [0, 1] of our sampler; noise: the generator that first x and all noise on the way come from."""
    name, times, options = plan(model, None, None, None, {})
    labels = torch.arange(n) % model.net.classes_known if model.net.classes_known else None
    weight = usual_guidance(model)
    cond = conditions(model, n, labels, ["a cat"] * n if model.text else None, guidance=weight)
    x = torch.randn(n, *model.shape, generator=noise) * float(model.schedule.alpha_sigma(times[0])[1])
    if name == "consistency":
        options["randn"] = lambda x: torch.randn(x.shape, generator=noise)
    *_, last = SAMPLERS[name](Guided(model, cond, None, weight), x, times, **options)
    image = model.latent.decode(last.x) if model.latent else last.x
    return (image / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_script_of_a_card_makes_our_pixels(tmp_path, monkeypatch, kind):
    model = opened(kind, tmp_path)
    export(model, tmp_path / "student", {})
    [block] = re.findall(r"```python\n(.*?)```", (tmp_path / "student/README.md").read_text(), re.S)
    assert "fastdiff" not in block and f"{KINDS[kind][2]}.from_pretrained(folder" in block
    monkeypatch.chdir(tmp_path / "student")
    exec(compile(block, "README.md", "exec"), names := {})
    theirs = names["images"]
    theirs = (theirs / 2 + 0.5).clamp(0, 1) if torch.is_tensor(theirs) else torch.from_numpy(theirs).permute(0, 3, 1, 2)
    wanted = ours(load(tmp_path / "student"), len(theirs), torch.Generator().manual_seed(0))
    assert wanted.std() > 0.02
    torch.testing.assert_close(theirs, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["stable diffusion", "sdxl", "sd3"])
def test_a_student_with_prompts_is_a_whole_pipeline(tmp_path, kind):
    export(opened(kind, tmp_path), tmp_path / "student", {})
    assert type(DiffusionPipeline.from_pretrained(tmp_path / "student")).__name__ == KINDS[kind][2]
    (tmp_path / "student/fastdiff.json").unlink()
    assert "pipeline_tag: text-to-image" in (tmp_path / "student/README.md").read_text()
    assert load(tmp_path / "student").text.kind == KINDS[kind][2]               # and ours opens it as anyone's


@pytest.mark.parametrize("told", ["two times", "guidance", "both"])
def test_a_transformers_planes_are_written_out(tmp_path, monkeypatch, told):
    model = opened("dit", tmp_path)
    model = with_second_time(model) if told != "guidance" else model
    model = with_guidance(model, (1.0, 4.0)) if told != "two times" else model
    torch.nn.init.normal_(model.net.module.pos_embed.proj.weight, std=0.2)
    export(model, tmp_path / "student", {})
    [block] = re.findall(r"```python\n(.*?)```", (tmp_path / "student/README.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path / "student")
    exec(compile(block, "README.md", "exec"), names := {})
    wanted = ours(load(tmp_path / "student"), 16, torch.Generator().manual_seed(0))
    torch.testing.assert_close((names["images"] / 2 + 0.5).clamp(0, 1), wanted, rtol=0, atol=1e-4)


def test_what_works_upon_an_image_has_no_script():
    model = Denoiser(unet((1, 8, 8), channels=(8,), layers=1, image=1), Cosine(), "v", (1, 8, 8))
    assert "It works upon an image" in script(model)[1]


def test_what_no_pipeline_with_prompts_does_is_said(tmp_path):
    model = opened("stable diffusion", tmp_path)
    model.sampling = Sampling("overshoot", "uniform", (4,))
    text, why = script(model)
    assert not text and "no pipeline calls TCDScheduler so" in why
