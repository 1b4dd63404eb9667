"""Schedulers in sigma / alpha: their grids and ends make the same latents here as in diffusers."""

from itertools import product

import diffusers
import pytest

from fastdiff.io.formats.euler_config import Euler
from tests.helpers.foreign_schedulers import BETAS, TOLERANCE, distance

GRIDS = {
    "steps": {},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
}


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("name", ["DDPM", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete"])
def test_every_spacing(opened, tmp_path, name, spacing):
    scheduler = getattr(diffusers, f"{name}Scheduler")(**BETAS, timestep_spacing=spacing)
    assert distance(opened, tmp_path, scheduler) < TOLERANCE


@pytest.mark.parametrize(("grid", "final"), product(GRIDS, ("zero", "sigma_min")))
def test_euler_on_every_grid_to_every_end(opened, tmp_path, grid, final):
    scheduler = diffusers.EulerDiscreteScheduler(**BETAS, **GRIDS[grid], final_sigmas_type=final)
    assert distance(opened, tmp_path, scheduler) < TOLERANCE


@pytest.mark.parametrize("grid", [name for name in GRIDS if name != "steps"])
def test_heun_on_every_grid_with_clipping(opened, tmp_path, grid):
    scheduler = diffusers.HeunDiscreteScheduler(
        **BETAS, **GRIDS[grid], clip_sample=True, prediction_type="v_prediction"
    )
    assert distance(opened, tmp_path, scheduler) < TOLERANCE


@pytest.mark.parametrize("name", ["DDIM", "EulerDiscrete", "EulerAncestralDiscrete"])
def test_rescaled_betas(opened, tmp_path, name):
    scheduler = getattr(diffusers, f"{name}Scheduler")(
        **BETAS,
        rescale_betas_zero_snr=True,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )
    assert distance(opened, tmp_path, scheduler) < TOLERANCE


def test_given_ends_of_a_grid_in_sigma(opened, tmp_path):
    scheduler = diffusers.EulerDiscreteScheduler(
        **BETAS, use_karras_sigmas=True, sigma_min=0.1, sigma_max=10.0
    )
    assert distance(opened, tmp_path, scheduler) < TOLERANCE


def test_two_grids_in_sigma_are_refused():
    with pytest.raises(ValueError, match="expected at most one"):
        Euler(use_karras_sigmas=True, use_beta_sigmas=True)
