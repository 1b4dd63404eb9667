"""Spacings in sigma / alpha, against the grids of diffusers' schedulers."""

import diffusers
import numpy as np
import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import Karras
from fastdiff.samplers import time_grid
from fastdiff.samplers.ratio_grids import beta_ramp, by_ratio, even

SIGMAS = np.array([80.0, 1.0, 0.02])
THEIRS = {"karras": "karras", "logsnr": "exponential", "beta": "beta"}


@pytest.mark.parametrize("steps", [2, 9])
@pytest.mark.parametrize("name", THEIRS)
def test_levels_are_those_of_diffusers(name, steps):
    scheduler = diffusers.EulerDiscreteScheduler()
    wanted = getattr(scheduler, f"_convert_to_{THEIRS[name]}")(SIGMAS, steps)
    mine = time_grid(Karras(), steps, f"{name}[ratio_min=0.02]")
    torch.testing.assert_close(mine[:-1], torch.from_numpy(wanted), rtol=1e-9, atol=0)
    assert mine[-1] == 0


def test_a_ramp_of_one_level_starts_at_the_top():
    assert (
        beta_ramp(80.0, 0.02, 1).tolist()
        == [80.0]
        == even(torch.log, torch.exp)(80.0, 0.02, 1).round().tolist()
    )


def test_levels_that_do_not_fall_are_refused():
    with pytest.raises(FastdiffError, match="expected ratio_min above 0"):
        by_ratio(Karras(), 4, 1.0, 0.0, 90.0, 80.0, beta_ramp)
