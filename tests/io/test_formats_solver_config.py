"""Multistep solvers: their orders, grids and ends make the same latents here as in diffusers."""

import warnings
from itertools import product

import diffusers
import pytest

from fastdiff.core.errors import FastdiffWarning
from fastdiff.io.formats.scheduler_config import TABLE_SETTINGS, scheduler_settings
from tests.helpers.foreign_schedulers import BETAS, TOLERANCE, distance

SOLVERS = ("DPMSolver", "UniPC", "DEIS")
GRIDS = {
    "leading": {"timestep_spacing": "leading"},
    "trailing": {"timestep_spacing": "trailing"},
    "linspace": {},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
}
OPTIONS = [
    ("DPMSolver", {"use_lu_lambdas": True}),
    ("DPMSolver", {"lambda_min_clipped": -1.0}),
    ("DPMSolver", {"algorithm_type": "sde-dpmsolver++"}),
    ("DPMSolver", {"algorithm_type": "sde-dpmsolver++", "solver_order": 1}),
    ("UniPC", {"solver_type": "bh1", "final_sigmas_type": "sigma_min"}),
    ("UniPC", {"sigma_min": 0.1, "use_karras_sigmas": True, "final_sigmas_type": "sigma_min"}),
]


def scheduler_of(name, **options):
    return getattr(diffusers, f"{name}MultistepScheduler")(**BETAS | options)


@pytest.mark.parametrize(("name", "grid"), product(SOLVERS, GRIDS))
def test_every_grid(opened, tmp_path, name, grid):
    assert distance(opened, tmp_path, scheduler_of(name, **GRIDS[grid]), 5) < TOLERANCE


@pytest.mark.parametrize(("name", "order"), product(SOLVERS, (1, 3)))
def test_every_order(opened, tmp_path, name, order):
    assert distance(opened, tmp_path, scheduler_of(name, solver_order=order), 5) < TOLERANCE


@pytest.mark.parametrize(("name", "lower"), product(SOLVERS, (True, False)))
def test_long_grids_end_at_sigma_min_with_the_solvers_order(opened, tmp_path, name, lower):
    ends = {} if name == "DEIS" else {"final_sigmas_type": "sigma_min"}
    scheduler = scheduler_of(name, lower_order_final=lower, **ends)
    assert distance(opened, tmp_path, scheduler, 15) < TOLERANCE


@pytest.mark.parametrize(("name", "largest"), product(SOLVERS, (1.0, 1.5)))
def test_thresholds(opened, tmp_path, name, largest):
    scheduler = scheduler_of(name, thresholding=True, sample_max_value=largest)
    assert distance(opened, tmp_path, scheduler, 5) < TOLERANCE


@pytest.mark.parametrize("name", ["DPMSolver", "UniPC"])
def test_rescaled_betas(opened, tmp_path, name):
    scheduler = scheduler_of(
        name, rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing"
    )
    assert distance(opened, tmp_path, scheduler, 4) < TOLERANCE


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_further_options(opened, tmp_path, name, options):
    assert distance(opened, tmp_path, scheduler_of(name, **options), 5) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("DPMSolver", {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}, "algorithm_type"),
        ("DPMSolver", {"solver_type": "heun"}, "solver_type"),
        ("DPMSolver", {"solver_order": 3, "algorithm_type": "sde-dpmsolver++"}, "solver_order"),
        ("DPMSolver", {"euler_at_final": True, "final_sigmas_type": "sigma_min"}, "euler_at_final"),
        ("DPMSolver", {"lambda_min_clipped": -1.0, "timestep_spacing": "trailing"}, "lambda_min_clipped"),
        ("UniPC", {"predict_x0": False}, "predict_x0"),
        ("UniPC", {"disable_corrector": [1]}, "disable_corrector"),
    ],
    ids=str,
)
def test_what_a_near_solver_replaces_is_said(tmp_path, name, options, said):
    scheduler_of(name, **options).save_pretrained(tmp_path / "scheduler")
    with pytest.warns(FastdiffWarning, match=f"scheduler.{said}"):
        assert scheduler_settings(tmp_path, TABLE_SETTINGS).sampling.steps == (50,)


def test_single_steps_are_said_to_be_ddims(tmp_path):
    diffusers.DPMSolverSinglestepScheduler().save_pretrained(tmp_path / "scheduler")
    with pytest.warns(FastdiffWarning, match="DPMSolverSinglestepScheduler"):
        assert scheduler_settings(tmp_path, TABLE_SETTINGS).sampling.sampler == "ddim"


@pytest.mark.parametrize("name", SOLVERS)
def test_a_plain_solver_says_nothing(tmp_path, name):
    scheduler_of(name).save_pretrained(tmp_path / "scheduler")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FastdiffWarning)
        assert scheduler_settings(tmp_path, TABLE_SETTINGS).sampling.spacing == "linspace[inner=True]"
