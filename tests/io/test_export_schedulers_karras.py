"""Schedulers in EDM's levels of noise stand on our levels."""

import diffusers
import pytest
import torch

from fastdiff.core.schedule import Karras
from fastdiff.io.export.schedulers.karras import RHO, on_ramp, ramp_places
from fastdiff.io.export.schedulers.match import matching_scheduler
from fastdiff.samplers import time_grid
from tests.helpers.tiny_students import EDM, sampled, student


def test_places_on_the_ramp_are_those_of_its_formula():
    places = torch.linspace(0, 1, 7, dtype=torch.float64)
    sigma = (80 ** (1 / RHO) + places * (0.002 ** (1 / RHO) - 80 ** (1 / RHO))) ** RHO  # Karras et al., (5)
    torch.testing.assert_close(ramp_places(sigma, 0.002, 80.0), places, rtol=0, atol=1e-12)
    assert on_ramp({7: places}, 7) and on_ramp({7: places}, 13) and not on_ramp({7: places}, 8)


@pytest.mark.parametrize("spacing", ["karras", "uniform"])
def test_eulers_levels_are_ours(spacing):
    found = matching_scheduler(
        student(Karras(), "edm", sampled("euler", spacing, (5,)), time_input="edm", **EDM)
    )
    scheduler = getattr(diffusers, found.class_name)(**found.config)
    scheduler.set_timesteps(5, **({"sigmas": torch.tensor(found.grids[5])} if found.grids else {}))
    times = time_grid(Karras(), 5, spacing)
    torch.testing.assert_close(scheduler.sigmas.double(), times, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spacing", ["karras", "uniform"])
def test_the_levels_of_jumps_are_ours(spacing):
    model = student(Karras(), "edm", sampled("consistency", spacing, (4,)), time_input="cm", **EDM)
    found = matching_scheduler(model)
    scheduler = getattr(diffusers, found.class_name)(**found.config)
    scheduler.set_timesteps(timesteps=found.grids[4])
    times = time_grid(Karras(), 4, spacing)
    torch.testing.assert_close(scheduler.sigmas[:-1].double(), times[:-1], rtol=1e-4, atol=0)
    assert found.landing == "data" and found.draws_noise
