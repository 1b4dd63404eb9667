"""Schedulers on the training timesteps: equal strides, LCM's own rule, or lists of entries."""

import diffusers
import pytest
import torch

from fastdiff.core.schedule import DDPM, Cosine
from fastdiff.io.export.schedulers.description import NoMatchingSchedulerError
from fastdiff.io.export.schedulers.match import matching_scheduler
from fastdiff.io.export.schedulers.own_table import bare_table, strided_entries, striding, tcd
from fastdiff.samplers import time_grid
from tests.helpers.tiny_students import sampled, student


def test_a_stride_is_found_again_and_anything_else_is_none():
    grids = {n: strided_entries(1000, 50, n) for n in (1, 2, 4)}
    assert grids[4] == [999, 759, 499, 259] and striding(1000, grids) == 50
    assert striding(1000, {2: [999, 499]}) == 1000
    assert striding(1000, grids | {3: [999, 700, 20]}) is None


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "consistency", "ddim[eta=0.5]"])
@pytest.mark.parametrize("steps", [(4, 1), (5,)])
def test_the_schedulers_timesteps_are_our_grid(sampler, steps):
    model = student(DDPM(), "eps", sampled(sampler, "uniform", steps))
    found = matching_scheduler(model)
    scheduler = getattr(diffusers, found.class_name)(**found.config)
    for n in steps:
        own = {"timesteps": found.grids[n]} if found.grids else {"num_inference_steps": n}
        scheduler.set_timesteps(**own)
        assert scheduler.timesteps.tolist() == (time_grid(DDPM(), n)[:-1] - 1).tolist(), n


def test_entries_off_the_rule_are_listed():
    times = ((1000.0, 640.0, 30.0),)
    found = matching_scheduler(student(DDPM(), "eps", sampled("consistency", times=times)))
    assert found.grids[3] == [999, 639, 29] and found.set_timesteps == "timesteps=grids[steps]"


def test_the_first_entry_of_tcd_is_clean_and_the_others_stay():
    table = tcd(bare_table(student(Cosine(), "v", sampled())), [0.1, 0.2, 0.3, 0.4])
    levels = (1 - torch.tensor(table.config["trained_betas"], dtype=torch.float64)).cumprod(0)
    torch.testing.assert_close(levels, torch.tensor([1.0, 0.72, 0.504, 0.3024], dtype=torch.float64))
    assert table.step_options == ("eta=0.0",)


def test_an_output_that_no_table_takes_is_refused():
    with pytest.raises(NoMatchingSchedulerError, match="takes this network's prediction, edm"):
        bare_table(student(Cosine(), "edm", sampled(), sigma_data=0.5))
