"""The choice of a table: the schedule's own where the grid lies on it, else one made of its times."""

import pytest

from fastdiff.core.schedule import Cosine, Karras
from fastdiff.io.export.schedulers.description import NoMatchingSchedulerError
from fastdiff.io.export.schedulers.tables import table_scheduler
from fastdiff.samplers import time_grid
from tests.helpers.tiny_students import sampled, student


def chosen(name, spacing, options=None, steps=4):
    model = student(Cosine(), "v", sampled(name, spacing, (steps,)))
    return table_scheduler(model, name, options or {}, {steps: time_grid(Cosine(), steps, spacing)})


@pytest.mark.parametrize(
    ("name", "spacing", "scheduler", "own"),
    [
        ("ddim", "uniform", "DDIMScheduler", True),
        ("ddim", "quadratic", "TCDScheduler", False),
        ("consistency", "uniform", "LCMScheduler", True),
        ("consistency", "cosine", "LCMScheduler", False),
        ("overshoot", "uniform", "TCDScheduler", False),
    ],
)
def test_a_grid_off_the_timesteps_has_a_table_made_of_it(name, spacing, scheduler, own):
    found = chosen(name, spacing)
    assert found.class_name == scheduler and (found.config["num_train_timesteps"] == 1000) == own
    assert (found.times == []) == own


def test_gamma_of_nothing_is_ddim():
    assert chosen("gamma", "uniform", {"gamma": "0"}) == chosen("ddim", "uniform")
    assert chosen("gamma", "uniform", {"gamma": "0.5"}).class_name == "TCDScheduler"


def test_where_no_table_fits_the_reason_is_named():
    with pytest.raises(NoMatchingSchedulerError, match="equal strides of 1000 timesteps"):
        chosen("ddpm", "quadratic")
    model = student(Karras(), "eps", sampled("heun"))
    with pytest.raises(
        NoMatchingSchedulerError, match="diffusers has no scheduler for the sampler heun on Karras"
    ):
        table_scheduler(model, "heun", {}, {1: time_grid(Karras(), 1)})
