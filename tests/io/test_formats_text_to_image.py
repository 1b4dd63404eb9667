"""Pipelines with prompts: from the same noise, on the same times, they make the same pictures."""

import json
import shutil

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FluxPipeline

from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import DDPM, Flow
from fastdiff.io.load import load
from fastdiff.networks.text_encoder import TextEncoder
from fastdiff.samplers import time_grid
from fastdiff.samplers.generate import sample
from tests.helpers import tiny_pipelines as tiny
from tests.helpers.opened_pipelines import PROMPTS, noise, ours, same, table_times


def flow_times(pipeline):
    return pipeline.scheduler.sigmas.double()


# ---- with prompts


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("name", ["sd", "sdxl", "alpha", "sigma"])
def test_tables_with_prompts(opened, name, guidance):
    pipeline, model, _ = opened(name)
    x = noise(2, 4, 8, 8)
    more = {"use_resolution_binning": False, "clean_caption": False} if name in ("alpha", "sigma") else {}
    wanted = pipeline(
        PROMPTS,
        height=16,
        width=16,
        num_inference_steps=4,
        guidance_scale=guidance,
        latents=x.clone(),
        output_type="pt",
        **more,
    ).images
    side = 128 if name == "alpha" else 8
    assert isinstance(model.schedule, DDPM)
    assert (model.shape, model.image_shape) == ((4, side, side), (3, 2 * side, 2 * side))
    same(ours(model, "ddim", x, table_times(pipeline), PROMPTS, guidance=guidance), wanted)
    own = model.sampling
    assert own.sampler == "ddim" and torch.equal(
        time_grid(model.schedule, 4, own.spacing), table_times(pipeline)
    )


@pytest.mark.parametrize(
    "options",
    [
        {"prediction_type": "v_prediction"},
        {"prediction_type": "sample"},
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    ],
    ids=str,
)
def test_other_predictions_and_zero_snr(opened, tmp_path, options):
    pipeline, _, folder = opened("sd")
    scheduler = DDIMScheduler(**tiny.VP, timestep_spacing="trailing", **options)
    shutil.copytree(folder, tmp_path / "model")
    scheduler.save_pretrained(tmp_path / "model/scheduler")
    model, x = load(tmp_path / "model"), noise(2, 4, 8, 8)
    parts = pipeline.components | {"scheduler": scheduler}
    theirs = tiny.quiet(type(pipeline)(**parts, requires_safety_checker=False))
    wanted = theirs(
        PROMPTS,
        num_inference_steps=4,
        guidance_scale=2.0,
        latents=x.clone(),
        output_type="pt",
        height=16,
        width=16,
    ).images
    same(
        ours(model, "ddim", x, time_grid(model.schedule, 4, model.sampling.spacing), PROMPTS, guidance=2.0),
        wanted,
    )


@pytest.mark.parametrize(
    ("name", "guidance"), [("sd3", 1.0), ("sd3", 4.0), ("flux", 1.0), ("flux", 3.5), ("schnell", 1.0)]
)
def test_flows_with_prompts(opened, name, guidance):
    pipeline, model, _ = opened(name)
    x = noise(2, 4, 8, 8)
    theirs = FluxPipeline._pack_latents(x, 2, 4, 8, 8) if name != "sd3" else x.clone()
    wanted = pipeline(
        PROMPTS,
        height=16,
        width=16,
        num_inference_steps=4,
        guidance_scale=guidance,
        latents=theirs,
        output_type="pt",
    ).images
    assert (
        model.schedule == Flow()
        and model.predicts == "velocity"
        and (model.guidance is None) == (name != "flux")
    )
    same(ours(model, "euler", x, flow_times(pipeline), PROMPTS, guidance=guidance), wanted)


def test_flows_are_sampled_on_their_own_times(opened):
    pipeline, model, _ = opened("sd3")
    pipeline.scheduler.set_timesteps(28)
    own = time_grid(model.schedule, 28, model.sampling.spacing_for(28))
    torch.testing.assert_close(own, flow_times(pipeline), rtol=0, atol=1e-6)
    for name in ("flux", "schnell"):
        pipeline, model, _ = opened(name)
        mu = diffusers.pipelines.flux.pipeline_flux.calculate_shift(model.shape[1] * model.shape[2] // 4)
        pipeline.scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 6, 6), mu=mu)
        own = time_grid(model.schedule, 6, model.sampling.spacing_for(6))
        torch.testing.assert_close(own, flow_times(pipeline), rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_latent_consistency(opened, steps):
    pipeline, model, _ = opened("lcm")
    x, generator = noise(2, 4, 8, 8), torch.Generator().manual_seed(5)
    wanted = pipeline(
        PROMPTS,
        height=16,
        width=16,
        num_inference_steps=steps,
        guidance_scale=5.0,
        latents=x.clone(),
        output_type="pt",
        generator=torch.Generator().manual_seed(5),
    ).images
    times = time_grid(model.schedule, steps, model.sampling.spacing_for(steps))
    assert (
        torch.equal(times, table_times(pipeline))
        and model.sampling.sampler == "consistency"
        and model.guidance
    )
    same(
        ours(
            model,
            "consistency",
            x,
            times,
            PROMPTS,
            guidance=5.0,
            randn=lambda x: torch.randn(x.shape, generator=generator),
        ),
        wanted,
    )


def test_sampling_asks_for_no_more_than_prompts(opened):
    for name in ("sd", "lcm", "sd3"):
        _, model, _ = opened(name)
        images = sample(model, steps=2, n=2, prompts="a cat", guidance=2.0)
        assert images.shape == (2, 3, 16, 16) and images.isfinite().all()
        assert not torch.equal(images, sample(model, steps=2, n=2, prompts="dog", guidance=2.0))
        assert torch.equal(
            sample(model, steps=2, n=2, seed=3), sample(model, steps=2, n=2, seed=3, prompts="")
        )


# ---- without


def test_a_tokenizer_without_its_words_is_refused(opened, tmp_path):
    shutil.copytree(opened("sd")[2], tmp_path / "sd")
    for name in ("tokenizer.json", "vocab.json"):
        (tmp_path / "sd/tokenizer" / name).unlink(missing_ok=True)
    with pytest.raises(
        FastdiffError, match="tokenizer cannot be read: expected one of tokenizer.json, vocab.json"
    ):
        load(tmp_path / "sd")


def test_what_no_prompt_is_identifies_a_text_encoder(tmp_path):
    tiny.sdxl(tmp_path / "tokens").save_pretrained(tmp_path / "sdxl")
    at, index = tmp_path / "sdxl", json.loads((tmp_path / "sdxl/model_index.json").read_text())
    one, two = (
        TextEncoder.open(at, index | {"force_zeros_for_empty_prompt": zero}) for zero in (True, False)
    )
    assert (
        one.null(1)["text"] - two.null(1)["text"]
    ).abs().max() > 1e-3 and one.fingerprint != two.fingerprint


def test_stable_diffusion_corrects_old_schedulers_and_xl_does_not(opened, tmp_path):
    for name, clip, spacing in (("sd", None, "leading[offset=1]"), ("sdxl", 1.0, "leading")):
        _, _, folder = opened(name)
        shutil.copytree(folder, tmp_path / name)
        DDIMScheduler(**tiny.VP | {"clip_sample": True}).save_pretrained(tmp_path / name / "scheduler")
        own = load(tmp_path / name).sampling
        assert (own.clip, own.spacing) == (clip, spacing)


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_units_of_latents_that_the_pipeline_ignores_are_left_out(opened, tmp_path, name):
    """StableDiffusionPipeline takes scaling_factor alone, XL means and standard deviations too."""
    pipeline, _, folder = opened(name)
    shutil.copytree(folder, tmp_path / "model")
    path = tmp_path / "model/vae/config.json"
    units = {"shift_factor": 0.3, "latents_mean": [0.1, 0.2, 0.3, 0.4], "latents_std": [1.0, 2.0, 0.5, 1.5]}
    path.write_text(json.dumps(json.loads(path.read_text()) | units))
    model = load(tmp_path / "model")
    x, scale = noise(1, 4, 8, 8), pipeline.vae.config.scaling_factor
    mean, std = (torch.tensor(units[f"latents_{of}"]).view(1, 4, 1, 1) for of in ("mean", "std"))
    own = x / scale if name == "sd" else x * std / scale + mean
    with torch.no_grad():
        torch.testing.assert_close(model.decoded(x), pipeline.vae.decode(own).sample)
    assert model.latent.module.config.shift_factor is None
