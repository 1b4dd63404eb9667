"""Configurations of diffusers' schedulers: their tables, grids and shifts are read as diffusers does."""

import json

import diffusers
import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import DDPM
from fastdiff.io.formats.scheduler_config import (
    CONSISTENCY_SETTINGS,
    FLOW_SETTINGS,
    TABLE_SETTINGS,
    scheduler_settings,
)
from fastdiff.samplers import time_grid


def test_every_table_of_a_ddpm_pipeline_is_read(tmp_path):
    from diffusers import DDPMPipeline, DDPMScheduler

    from fastdiff.core.errors import FastdiffError
    from fastdiff.io.load import load
    from fastdiff.networks import unet

    net = unet((1, 8, 8), channels=(8,), layers=1, groups=4).module
    scheduler = DDPMScheduler(
        beta_schedule="sigmoid", rescale_betas_zero_snr=True, prediction_type="v_prediction"
    )
    DDPMPipeline(net, scheduler).save_pretrained(tmp_path)
    assert load(tmp_path).schedule == DDPM(kind="sigmoid", zero_terminal_snr=True)
    DDPMPipeline(net, DDPMScheduler(beta_schedule="laplace")).save_pretrained(tmp_path)
    with pytest.raises(FastdiffError, match="cannot be loaded as a diffusers model .*laplace"):
        load(tmp_path)


def read(folder, scheduler, known):
    scheduler.save_pretrained(folder / "scheduler")
    return scheduler_settings(folder, known)


@pytest.mark.parametrize("name", TABLE_SETTINGS)
def test_the_table_of_any_scheduler_is_its_own(tmp_path, name):
    scheduler = getattr(diffusers, name)(beta_start=0.002, beta_end=0.01, prediction_type="v_prediction")
    found = read(tmp_path, scheduler, TABLE_SETTINGS)
    levels = found.schedule.alpha_sigma(torch.arange(1, 1001, dtype=torch.float64))[0] ** 2
    torch.testing.assert_close(levels.float(), scheduler.alphas_cumprod, rtol=2e-5, atol=0)
    assert found.predicts == ("lcm_v" if name == "LCMScheduler" else "v")


@pytest.mark.parametrize(
    ("spacing", "offset"), [("leading", 0), ("leading", 1), ("trailing", 0), ("linspace", 0)]
)
def test_ddim_has_the_grid_of_its_spacing(tmp_path, spacing, offset):
    scheduler = diffusers.DDIMScheduler(timestep_spacing=spacing, steps_offset=offset)
    found = read(tmp_path, scheduler, TABLE_SETTINGS)
    scheduler.set_timesteps(20)
    ours = time_grid(found.schedule, 20, found.sampling.spacing_for(20))[:-1] - 1
    assert ours.tolist() == scheduler.timesteps.tolist()


def test_few_step_schedulers_have_grids_for_every_number_of_steps(tmp_path):
    lcm = diffusers.LCMScheduler(original_inference_steps=4)
    found = read(tmp_path, lcm, TABLE_SETTINGS)
    assert found.sampling.steps == (4, 1, 2)  # 8 are more than it has
    for steps in found.sampling.steps:
        lcm.set_timesteps(steps)
        assert found.sampling.spacing_for(steps) == tuple(lcm.timesteps + 1)
    jumps = diffusers.CMStochasticIterativeScheduler(sigma_max=50.0)
    found = read(tmp_path, jumps, CONSISTENCY_SETTINGS)
    assert found.sampling.steps == (1, 2, 4) and found.sampling.spacing_for(1) == pytest.approx((50.0,))


@pytest.mark.parametrize("kind", ["exponential", "linear"])
def test_larger_pictures_are_shifted_as_diffusers_shifts_them(tmp_path, kind):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, time_shift_type=kind, base_shift=0.6, max_shift=1.3
    )
    found = read(tmp_path, scheduler, FLOW_SETTINGS)
    mu = 0.6 + 0.7 * (1024 - 256) / (4096 - 256)
    wanted = scheduler.time_shift(mu, 1.0, torch.linspace(1, 1 / 28, 28, dtype=torch.float64))
    ours = time_grid(DDPM(t_max=1.0, betas=(0.5,)), 28, found.sampling(1024).spacing)[:-1]
    torch.testing.assert_close(ours, wanted, rtol=1e-9, atol=0)
    plain = read(tmp_path, diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), FLOW_SETTINGS)
    assert plain.shift_of(1024) == plain.shift_of(1) == 3.0


def test_settings_of_newer_versions_are_left_out_and_others_are_named(tmp_path):
    diffusers.DDPMScheduler().save_pretrained(tmp_path / "scheduler")
    path = tmp_path / "scheduler/scheduler_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"novelty": [1]}))
    assert scheduler_settings(tmp_path, TABLE_SETTINGS).schedule == DDPM()
    path.write_text(json.dumps(config | {"prediction_type": "flow"}))
    with pytest.raises(FastdiffError, match="^scheduler.prediction_type: expected epsilon"):
        scheduler_settings(tmp_path, TABLE_SETTINGS)
    with pytest.raises(
        FastdiffError, match="'DDPMScheduler' is not supported for this network, expected one of FlowMatch"
    ):
        scheduler_settings(tmp_path, FLOW_SETTINGS)


FLOW_FLAGS = (
    "invert_sigmas",
    "stochastic_sampling",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
)


@pytest.mark.parametrize("flag", FLOW_FLAGS)
def test_a_flow_on_other_levels_is_refused_by_name(tmp_path, flag):
    with pytest.raises(FastdiffError, match=f"^scheduler.{flag}: expected False"):
        read(tmp_path, diffusers.FlowMatchEulerDiscreteScheduler(**{flag: True}), FLOW_SETTINGS)


def test_a_shifted_end_of_a_flow_is_refused_by_name(tmp_path):
    with pytest.raises(FastdiffError, match="^scheduler.shift_terminal: expected null"):
        read(tmp_path, diffusers.FlowMatchEulerDiscreteScheduler(shift_terminal=0.1), FLOW_SETTINGS)


@pytest.mark.parametrize(
    "options", [{"base_image_seq_len": 4096}, {"max_shift": 1000.0}, {"base_shift": None}], ids=str
)
def test_a_shift_that_does_not_compute_is_refused_in_words(tmp_path, options):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, **options)
    found = read(tmp_path, scheduler, FLOW_SETTINGS)
    with pytest.raises(ValueError, match="gives no shift above 0 for 4096 patches"):
        found.sampling(4096)


def test_consistency_models_clip_as_their_scheduler_says(tmp_path):
    for clips, bound in ((True, 1.0), (False, None)):
        scheduler = diffusers.CMStochasticIterativeScheduler(clip_denoised=clips)
        assert read(tmp_path, scheduler, CONSISTENCY_SETTINGS).sampling.clip == bound


def test_a_pipeline_may_replace_class_and_settings(tmp_path):
    diffusers.DDPMScheduler(beta_end=0.03).save_pretrained(tmp_path / "scheduler")
    found = scheduler_settings(tmp_path, TABLE_SETTINGS, "DDIMScheduler", clip_sample=False)
    assert (found.beta_end, found.sampling.sampler, found.sampling.clip) == (0.03, "ddim", None)


def test_betas_that_do_not_compute_are_refused_when_the_model_is_loaded(tmp_path):
    for options in ({"trained_betas": (0.1, 0.2)}, {"beta_end": -0.5}, {"beta_end": 0.0, "beta_start": 0.0}):
        found = read(tmp_path, diffusers.DDIMScheduler(), TABLE_SETTINGS).model_copy(update=options)
        with pytest.raises((ValueError, FastdiffError)):
            found.model(None, (1, 8, 8))
