"""Time grids."""

import math

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import DDPM, SCHEDULES, VP, Cosine, Flow, Karras
from fastdiff.samplers import SPACINGS, time_grid

ALL = [*(kind() for kind in SCHEDULES.values()), DDPM(t_max=100)]
schedules = pytest.mark.parametrize("schedule", ALL, ids=repr)


@schedules
@pytest.mark.parametrize("spacing", list(SPACINGS))
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50])
def test_grids_fall_from_at_most_t_max_to_zero(schedule, spacing, steps):
    grid = time_grid(schedule, steps, spacing)
    assert grid.shape == (steps + 1,) and grid.dtype == torch.float64 and grid.device.type == "cpu"
    assert grid[-1] == 0 and grid.diff().max() < 0 and grid[0] <= schedule.t_max
    if spacing in ("uniform", "trailing", "quadratic", "cosine"):
        assert grid[0] == schedule.t_max  # exactly: alpha is exactly zero there


@schedules
def test_closed_forms(schedule):
    top = schedule.t_max
    assert time_grid(schedule, 4).tolist() == pytest.approx([top, 0.75 * top, 0.5 * top, 0.25 * top, 0])
    assert time_grid(schedule, 2, "quadratic").tolist() == pytest.approx([top, top / 4, 0])
    assert time_grid(schedule, 3, "cosine").tolist() == pytest.approx([top, 0.75 * top, 0.25 * top, 0])
    if schedule.timesteps == 1000:
        assert time_grid(schedule, 3, "trailing").tolist() == pytest.approx(
            [top, 0.667 * top, 0.333 * top, 0]
        )
        assert time_grid(schedule, 3, "leading").tolist() == pytest.approx(
            [0.667 * top, 0.334 * top, 0.001 * top, 0]
        )


def test_the_whole_table_is_ddpm():
    for spacing in ("uniform", "trailing", "leading"):
        torch.testing.assert_close(
            time_grid(DDPM(), 1000, spacing), torch.arange(1000, -1, -1).double(), rtol=0, atol=1e-9
        )


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("entries", [1000, 100])
def test_training_timesteps_are_those_of_diffusers(spacing, entries):
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(entries, timestep_spacing=spacing)
    for steps in [*range(1, 24), 50, 100]:  # from 24 on diffusers rounds some ties by accident
        scheduler.set_timesteps(steps)
        assert time_grid(DDPM(t_max=entries), steps, spacing)[:-1].tolist() == [
            t + 1 for t in scheduler.timesteps.tolist()
        ]


def test_karras_is_the_papers_ramp():
    wanted = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    assert time_grid(Karras(), 18, "karras").tolist() == pytest.approx([*wanted, 0], rel=1e-12)
    alpha, sigma = Cosine().alpha_sigma(time_grid(Cosine(), 18, "karras")[:-1])
    assert (sigma / alpha).tolist() == pytest.approx(wanted, rel=1e-9)
    assert time_grid(Karras(), 3, "karras", rho=1.0, ratio_min=1.0, ratio_max=5.0).tolist() == pytest.approx(
        [5, 3, 1, 0]
    )
    assert time_grid(Cosine(), 1, "karras").tolist() == pytest.approx([2 / math.pi * math.atan(80), 0])


@pytest.mark.parametrize(
    ("steps", "spacing", "message"),
    [
        (0, "uniform", "steps = 0: expected at least 1"),
        (-3, "karras", "steps = -3: expected at least 1"),
        (1001, "trailing", "1001 steps are too many for spacing 'trailing'"),
        (1001, "leading", "1001 steps are too many for spacing 'leading'"),
        (
            4,
            "even",
            "spacing 'even' is unknown, choose from uniform, trailing, leading, quadratic, cosine, shifted",
        ),
        (2, "900,x", "spacing '900,x' is unknown, choose from .* or list the times"),
        (2, "900,500,300", "spacing: 3 times for 2 steps"),
        (2, "0", "spacing: 0 times for 2 steps"),
        (2, [], "spacing: 0 times for 2 steps"),
        (2, [500, 900], "spacing 500, 900: expected decreasing times, at most t_max = 1000 and above 0"),
        (2, [500, 500], "expected decreasing times"),
        (2, [1000.1, 500], "expected decreasing times, at most t_max = 1000"),
        (2, [900, -1], "expected decreasing times"),
        (2, [900, math.nan], "expected decreasing times"),
        (2, "nan,500", "expected decreasing times"),
        (2, [None, 3], "spacing: expected a name"),
        (2, 7, "spacing: expected a name"),
        (2, {"rho": 5}, "spacing: expected a name"),
        (2, {"name": "karras", "rh": 5}, "spacing karras.rh is unknown, did you mean rho"),
        (2, "karras[ratiomin=0.1]", "spacing karras.ratiomin is unknown, did you mean ratio_min"),
        (2, "karras[rho=high]", "spacing karras.rho: .*number.*got 'high'"),
        (2, "karras[rho=0]", "spacing karras: rho = 0.0: expected above 0"),
        (2, "karras[rho=nan]", "spacing karras.rho: .*finite number"),
        (
            2,
            "karras[ratio_min=5,ratio_max=2]",
            "from 2 down to 5: expected ratio_min above 0, below a finite ratio_max",
        ),
        (2, "logsnr[ratio_min=nan]", "ratio_min: .*finite number"),
        (2, "logsnr[ratio_min=0]", "from 80 down to 0"),
        (2, "uniform[rho=5]", "spacing uniform.rho is unknown"),
        (
            2,
            "uniform[start=0.3,stop=0.3]",
            "spacing uniform: start = 0.3 and stop = 0.3: expected 1 >= start > stop >= 0",
        ),
        (2, "uniform[start=1.5]", "start = 1.5 and stop = 0: expected 1 >= start"),
        (2, "uniform[stop=-0.1]", "start = 1 and stop = -0.1: expected"),
        (2, "uniform[start=nan]", "start: .*finite number"),
        (90, "trailing[stop=0.95]", "90 steps are too many for spacing 'trailing'"),
    ],
)
def test_impossible_grids_are_refused(steps, spacing, message):
    with pytest.raises(FastdiffError, match=message):
        time_grid(DDPM(), steps, spacing)


@pytest.mark.parametrize(
    "schedule", [Karras(t_max=2.0), VP(beta_max=4.0), DDPM(t_max=100), Flow(t_max=0.9)], ids=repr
)
def test_a_ramp_starts_no_higher_than_the_schedule_ends(schedule):
    grid = time_grid(schedule, 40, "karras")
    assert float(grid[0]) == pytest.approx(schedule.t_max) and grid[0] <= schedule.t_max


def test_logsnr_is_even_in_the_log_of_the_ratio():
    wanted = [80 * (0.002 / 80) ** (i / 6) for i in range(7)]
    assert time_grid(Karras(), 7, "logsnr").tolist() == pytest.approx([*wanted, 0], rel=1e-12)
    alpha, sigma = VP().alpha_sigma(time_grid(VP(), 9, "logsnr", ratio_min=0.01, ratio_max=20.0)[:-1])
    torch.testing.assert_close((alpha / sigma).log().diff(), torch.full((8,), math.log(2000) / 8).double())
    assert float(sigma[0] / alpha[0]) == pytest.approx(20)


@schedules
@pytest.mark.parametrize("spacing", list(SPACINGS))
def test_a_part_of_the_schedule(schedule, spacing):
    """start and stop are shares of t_max; only a grid with a stop ends before the data."""
    top = schedule.t_max
    for start, stop in ((0.8, 0.0), (1.0, 0.1), (0.7, 0.2)):
        grid = time_grid(schedule, 4, spacing, start=start, stop=stop)
        assert grid.shape == (5,) and grid.diff().max() < 0 and grid[0] <= start * top * (1 + 1e-12)
        assert float(grid[-1]) == pytest.approx(stop * top, abs=1e-12)
        if spacing not in ("leading", "karras", "few_steps", "logsnr", "beta"):
            assert float(grid[0]) == pytest.approx(start * top)
    if spacing in ("karras", "few_steps", "logsnr"):
        alpha, sigma = schedule.alpha_sigma(time_grid(schedule, 4, spacing, start=0.7, stop=0.2))
        bent = (sigma / alpha) ** (1 / 7) if spacing != "logsnr" else (sigma / alpha).log()
        torch.testing.assert_close(bent.diff(), bent.diff().mean().expand(4))
    assert torch.equal(time_grid(schedule, 4, spacing, start=1.0, stop=0.0), time_grid(schedule, 4, spacing))


def test_one_grid_in_every_spelling():
    wanted = time_grid(Karras(), 5, "karras", rho=5.0, ratio_max=40.0)
    for spacing in ({"name": "karras", "rho": 5, "ratio_max": 40}, "karras[rho=5,ratio_max=40]"):
        assert torch.equal(time_grid(Karras(), 5, spacing), wanted)
    assert torch.equal(time_grid(Karras(), 5, {"name": "karras", "rho": 3}, rho=5.0, ratio_max=40.0), wanted)
    assert torch.equal(time_grid(Karras(), 5, wanted), wanted)
    assert torch.equal(time_grid(Karras(), 5, tuple(wanted[:-1].tolist())), wanted)
    assert torch.equal(time_grid(Karras(), 5, ", ".join(map(str, wanted.tolist()))), wanted)
    assert (
        time_grid(Cosine(), 3, "0.9,0.5,2e-1").tolist() == time_grid(Cosine(), 3, [0.9, 0.5, 0.2, 0]).tolist()
    )
    assert (
        time_grid(Cosine(), 1, "1").tolist() == [1, 0] and time_grid(Cosine(), 1, "1").dtype == torch.float64
    )


def test_a_list_of_times_has_no_options():
    with pytest.raises(FastdiffError, match="is a list of times: it has no option rho"):
        time_grid(Karras(), 2, "9,3", stop=0.1, rho=3.0)


@pytest.mark.parametrize(("steps", "last"), [(1, 80), (2, 0.8), (4, 0.4), (8, 0.2)])
def test_a_few_steps_end_nearer_to_the_data_the_more_there_are(steps, last):
    times = time_grid(Karras(), steps, "few_steps")
    assert float(times[0]) == pytest.approx(80) and float(times[-2]) == pytest.approx(last)
    torch.testing.assert_close(times, time_grid(Karras(), steps, "karras", ratio_min=min(last, 0.8)))
