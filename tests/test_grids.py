"""Time grids."""

import math

import pytest
import torch

from fastdiff.errors import FastdiffError
from fastdiff.samplers import SPACINGS, time_grid
from fastdiff.schedule import DDPM, SCHEDULES, VP, Cosine, Flow, Karras

ALL = [*(kind() for kind in SCHEDULES.values()), DDPM(t_max=100)]
schedules = pytest.mark.parametrize("schedule", ALL, ids=repr)


@schedules
@pytest.mark.parametrize("spacing", list(SPACINGS))
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50])
def test_grids_fall_from_at_most_t_max_to_zero(schedule, spacing, steps):
    grid = time_grid(schedule, steps, spacing)
    assert grid.shape == (steps + 1,) and grid.dtype == torch.float64 and grid.device.type == "cpu"
    assert grid[-1] == 0 and grid.diff().max() < 0 and grid[0] <= schedule.t_max
    if spacing in ("uniform", "trailing", "quadratic"):
        assert grid[0] == schedule.t_max                     # exactly: alpha is exactly zero there


@schedules
def test_closed_forms(schedule):
    top = schedule.t_max
    assert time_grid(schedule, 4).tolist() == pytest.approx([top, 0.75 * top, 0.5 * top, 0.25 * top, 0])
    assert time_grid(schedule, 2, "quadratic").tolist() == pytest.approx([top, top / 4, 0])
    if schedule.timesteps == 1000:
        assert time_grid(schedule, 3, "trailing").tolist() == pytest.approx([top, 0.667 * top, 0.333 * top, 0])
        assert time_grid(schedule, 3, "leading").tolist() == pytest.approx([0.667 * top, 0.334 * top, 0.001 * top, 0])


def test_the_whole_table_is_ddpm():
    for spacing in ("uniform", "trailing", "leading"):
        torch.testing.assert_close(time_grid(DDPM(), 1000, spacing), torch.arange(1000, -1, -1).double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("entries", [1000, 100])
def test_training_timesteps_are_those_of_diffusers(spacing, entries):
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(entries, timestep_spacing=spacing)
    for steps in [*range(1, 24), 50, 100]:           # from 24 on diffusers rounds some ties by accident
        scheduler.set_timesteps(steps)
        assert time_grid(DDPM(t_max=entries), steps, spacing)[:-1].tolist() == [t + 1 for t in scheduler.timesteps.tolist()]


def test_karras_is_the_papers_ramp():
    wanted = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    assert time_grid(Karras(), 18, "karras").tolist() == pytest.approx([*wanted, 0], rel=1e-12)
    alpha, sigma = Cosine().alpha_sigma(time_grid(Cosine(), 18, "karras")[:-1])
    assert (sigma / alpha).tolist() == pytest.approx(wanted, rel=1e-9)
    assert time_grid(Karras(), 3, "karras", rho=1.0, ratio_min=1.0, ratio_max=5.0).tolist() == pytest.approx([5, 3, 1, 0])
    assert time_grid(Cosine(), 1, "karras").tolist() == pytest.approx([2 / math.pi * math.atan(80), 0])


@pytest.mark.parametrize(("steps", "spacing", "message"), [
    (0, "uniform", "steps = 0: expected at least 1"),
    (-3, "karras", "steps = -3: expected at least 1"),
    (1001, "trailing", "1001 steps are too many for spacing 'trailing'"),
    (1001, "leading", "1001 steps are too many for spacing 'leading'"),
    (4, "even", "spacing 'even' is unknown, choose from uniform, trailing, leading, quadratic, karras"),
])
def test_impossible_grids_are_refused(steps, spacing, message):
    with pytest.raises(FastdiffError, match=message):
        time_grid(DDPM(), steps, spacing)


@pytest.mark.parametrize("schedule", [Karras(t_max=2.0), VP(beta_max=4.0), DDPM(t_max=100), Flow(t_max=0.9)], ids=repr)
def test_a_ramp_starts_no_higher_than_the_schedule_ends(schedule):
    grid = time_grid(schedule, 40, "karras")
    assert float(grid[0]) == pytest.approx(schedule.t_max) and grid[0] <= schedule.t_max
