"""Single-step solvers against diffusers on the same noise and network."""

from itertools import pairwise

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import VP
from tests.helpers.diffusers_schedulers import NAMES, on_our_grid
from tests.helpers.walks import noise, walk


@pytest.mark.parametrize("predicts", list(NAMES))
@pytest.mark.parametrize("order", [2, 3])
def test_dpm_solver_is_diffusers(net64, order, predicts):
    """Their Taylor form ("heun"), told the times within our steps as steps of its own."""
    from diffusers import DPMSolverSinglestepScheduler

    model, schedule, grid = (
        Denoiser(net64, VP(), predicts),
        VP(),
        torch.linspace(0.98, 0.05, 7, dtype=torch.float64),
    )
    alpha, sigma = schedule.alpha_sigma(grid)
    ratios = (sigma / alpha).log()
    inner = torch.cat(
        [torch.lerp(a, b, torch.arange(order, dtype=torch.float64) / order) for a, b in pairwise(ratios)]
    )
    times = schedule.time_of(torch.cat([inner, ratios[-1:]]).exp())
    scheduler = DPMSolverSinglestepScheduler(
        algorithm_type="dpmsolver",
        solver_type="heun",
        solver_order=order,
        final_sigmas_type="sigma_min",
        prediction_type=NAMES[predicts],
    )
    got = walk("dpm_solver", model, noise(dims=3), grid, order=order)
    wanted = on_our_grid(scheduler, model, noise(dims=3), times)
    torch.testing.assert_close(got[-1].x, wanted, rtol=1e-5, atol=1e-5)
