"""Schedulers with a table: what they say of bounds, ends, variances and grids makes the same latents here."""

import warnings
from itertools import cycle, product

import diffusers
import pytest
import torch

from fastdiff.core.errors import FastdiffError, FastdiffWarning
from fastdiff.core.schedule import DDPM
from fastdiff.io.formats.scheduler_config import TABLE_SETTINGS, scheduler_settings
from fastdiff.io.formats.table_config import check_levels, with_options
from tests.helpers.foreign_schedulers import BETAS, TOLERANCE, differ, distance, latents, ours, recorded

BOUNDS = {
    "none": {"clip_sample": False},
    "clip": {"clip_sample": True},
    "range": {"clip_sample": True, "clip_sample_range": 0.7},
    "threshold": {"thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.9},
    "default threshold": {"thresholding": True, "clip_sample": True},
}
PREDICTIONS = ("epsilon", "v_prediction", "sample")


def in_rotation(bounds, others):
    """Every pair, each with one of the predictions in turn."""
    return [(*pair, prediction) for pair, prediction in zip(product(bounds, others), cycle(PREDICTIONS))]


@pytest.mark.parametrize(("bound", "to_one", "prediction"), in_rotation(BOUNDS, (True, False)))
def test_ddim_bounds_and_ends_as_its_scheduler(opened, tmp_path, bound, to_one, prediction):
    scheduler = diffusers.DDIMScheduler(
        **BETAS, **BOUNDS[bound], set_alpha_to_one=to_one, prediction_type=prediction
    )
    assert distance(opened, tmp_path, scheduler) < TOLERANCE


@pytest.mark.parametrize("bound", ["clip", "threshold"])
def test_guidance_comes_before_the_bound(opened, tmp_path, bound):
    scheduler = diffusers.DDIMScheduler(**BETAS, **BOUNDS[bound])
    assert distance(opened, tmp_path, scheduler, guidance=3.0) < TOLERANCE


@pytest.mark.parametrize(
    ("bound", "variance", "prediction"), in_rotation(BOUNDS, ("fixed_small", "fixed_large"))
)
def test_ddpm_bounds_and_draws_as_its_scheduler(opened, tmp_path, bound, variance, prediction):
    scheduler = diffusers.DDPMScheduler(
        **BETAS | {"steps_offset": 0},
        **BOUNDS[bound],
        variance_type=variance,
        prediction_type=prediction,
    )
    assert distance(opened, tmp_path, scheduler) < TOLERANCE


@pytest.mark.parametrize("bound", BOUNDS)
def test_lcm_bounds_as_its_scheduler(opened, tmp_path, bound):
    pipeline, model, _ = opened("lcm")
    scheduler = diffusers.LCMScheduler(**BETAS, **BOUNDS[bound])
    mine = recorded(tmp_path, scheduler, model.net, guidance=model.guidance)
    assert differ(ours(mine, scheduler, 4), latents(pipeline, scheduler, 4)) < TOLERANCE


def settings(folder, name, **options):
    getattr(diffusers, f"{name}Scheduler")(**options).save_pretrained(folder / "scheduler")
    return scheduler_settings(folder, TABLE_SETTINGS)


def test_the_defaults_of_diffusers_are_kept(tmp_path):
    ddpm = settings(tmp_path, "DDPM").sampling
    assert (ddpm.sampler, ddpm.spacing, ddpm.clip, ddpm.variance) == ("ddpm", "leading", 1.0, "small")
    ddim = settings(tmp_path, "DDIM").sampling
    assert (ddim.sampler, ddim.clip, ddim.keep_eps, ddim.end) == ("ddim", 1.0, True, (1.0, 0.0))
    assert settings(tmp_path, "DDPM", variance_type="learned_range").sampling.variance == "learned"
    lcm = settings(tmp_path, "LCM", clip_sample=True, clip_sample_range=2.0).sampling
    assert (lcm.sampler, lcm.clip) == ("consistency", 2.0)
    tcd = settings(tmp_path, "TCD")  # its last step ends at the first entry in any case
    alpha, sigma = tcd.sampling.end
    assert (alpha, sigma) == pytest.approx(
        [float(level) for level in tcd.schedule.alpha_sigma(torch.ones(()))]
    )
    assert tcd.sampling.sampler == "ddim" and tcd.sampling.steps == (4, 1, 2, 8)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("PNDM", {}, "PNDMScheduler"),
        ("LMSDiscrete", {}, "LMSDiscreteScheduler"),
        ("KDPM2AncestralDiscrete", {}, "KDPM2"),
        ("DDIM", {"timestep_spacing": "linspace"}, "timestep_spacing"),
        ("EulerDiscrete", {"use_karras_sigmas": True, "timestep_spacing": "leading"}, "timestep_spacing"),
        ("DDPM", {"variance_type": "fixed_large", "timestep_spacing": "trailing"}, "variance_type"),
    ],
    ids=str,
)
def test_what_a_near_sampler_replaces_is_said(tmp_path, name, options, said):
    with pytest.warns(FastdiffWarning, match=said):
        assert settings(tmp_path, name, **options).sampling.steps == (50,)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("DDPM", {"variance_type": "learned"}, "scheduler.variance_type"),
        ("EulerDiscrete", {"interpolation_type": "log_linear"}, "scheduler.interpolation_type"),
        ("EulerDiscrete", {"timestep_type": "continuous"}, "scheduler.timestep_type"),
        (
            "DDIM",
            {"thresholding": True, "dynamic_thresholding_ratio": 1.5},
            "dynamic_thresholding_ratio = 1.5",
        ),
        ("DDIM", {"thresholding": True, "sample_max_value": 0.5}, "sample_max_value = 0.5"),
    ],
    ids=str,
)
def test_what_is_not_supported_is_refused_by_name(tmp_path, name, options, said):
    with pytest.raises(FastdiffError, match=said):
        settings(tmp_path, name, **options)


def test_a_plain_scheduler_says_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", FastdiffWarning)
        for name in ("DDPM", "DDIM", "EulerDiscrete", "HeunDiscrete", "LCM", "TCD"):
            assert settings(tmp_path, name).sampling.steps


def test_a_table_that_does_not_rise_is_refused():
    check_levels(DDPM())
    with pytest.raises(ValueError, match="do not rise"):
        check_levels(DDPM(t_max=3, betas=(0.1, 0.0, 0.2)))


def test_options_as_text():
    assert with_options("leading", offset=0) == "leading"
    assert (
        with_options("linspace", rounded=False, inner=True, start=None)
        == "linspace[rounded=False,inner=True]"
    )
