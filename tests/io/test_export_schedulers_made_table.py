"""Tables made of a grid's own times: their entries are where the grid and its jumps stand."""

import diffusers
import pytest
import torch

from fastdiff.core.schedule import Cosine
from fastdiff.io.export.schedulers.made_table import FALL_ENTRIES, entry_times, landings, places, tcd_eta
from fastdiff.io.export.schedulers.match import matching_scheduler
from fastdiff.samplers import time_grid
from tests.helpers.tensors import f64
from tests.helpers.tiny_students import sampled, student


def test_every_landing_is_found_again_by_its_eta():
    for s in range(1, 60):
        for u in range(s + 1):
            eta = tcd_eta(s, u)
            assert 0 <= eta < 1 and int((1 - eta) * s) == u, (s, u)


@pytest.mark.parametrize("sampler", ["consistency", "gamma[gamma=0.4]", "overshoot"])
def test_the_levels_of_a_made_table_are_those_of_the_grid(sampler):
    found = matching_scheduler(student(Cosine(), "v", sampled(sampler, "cosine", (5, 2))))
    scheduler = getattr(diffusers, found.class_name)(**found.config)
    for n, entries in found.grids.items():
        levels = Cosine().alpha_sigma(time_grid(Cosine(), n, "cosine")[:-1])[0] ** 2
        torch.testing.assert_close(scheduler.alphas_cumprod[entries].double(), levels, rtol=1e-4, atol=1e-6)
    assert set(found.grids) == {5, 2} and scheduler.alphas_cumprod[0] == 1


def test_entries_are_the_times_of_grids_and_jumps_and_steps_between():
    grids, targets = {2: f64([1.0, 0.5, 0.0])}, {2: f64([0.25, 0.0])}
    levels = entry_times(Cosine(), grids, targets)
    assert len(levels) == 4 + FALL_ENTRIES and (levels.diff() > 0).all()
    assert levels[places(levels, f64([1.0, 0.5, 0.25, 0.0]))].tolist() == [1.0, 0.5, 0.25, 0.0]
    ratio = Cosine().alpha_sigma(levels)[0][1:-1] / Cosine().alpha_sigma(levels)[0][:-2]
    assert ratio.min() > 0.49  # alpha at most halves from entry to entry, but for the last


def test_jumps_land_where_the_sampler_says():
    times = f64([1.0, 0.6, 0.2, 0.0])
    assert landings(Cosine(), "consistency", {}, times).tolist() == []
    assert landings(Cosine(), "ddim", {}, times).tolist() == [0.6, 0.2, 0.0]
    assert landings(Cosine(), "overshoot", {}, times).tolist() == [0.2, 0.0, 0.0]
    below = landings(Cosine(), "gamma", {"gamma": "0.5"}, times)
    assert (below[:-1] < times[1:-1]).all() and below[-1] == 0
