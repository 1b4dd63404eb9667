"""Schedulers of flow matching step through our grids, and tell the network our times."""

import diffusers
import pytest
import torch

from fastdiff.core.schedule import Flow, Trig
from fastdiff.io.export.schedulers.flow import grid_in_words
from fastdiff.io.export.schedulers.match import matching_scheduler
from fastdiff.samplers import time_grid
from tests.helpers.tiny_students import sampled, student


@pytest.mark.parametrize("schedule", [Flow(), Flow(t_max=0.9), Trig()], ids=repr)
@pytest.mark.parametrize("spacing", ["uniform", "quadratic"])
def test_the_words_of_a_grid_are_its_times(schedule, spacing):
    grids = {n: time_grid(schedule, n, spacing) for n in (1, 4)}
    words, listed = grid_in_words(schedule, grids)
    assert set(listed) == (set() if spacing == "uniform" else {1, 4})
    for n, times in grids.items():
        assert eval(words, {"steps": n, "grids": listed, "range": range}) == pytest.approx(
            times[:-1].tolist(), rel=1e-12
        )


@pytest.mark.parametrize("time_input", ["timestep", "time"])
def test_eulers_sigmas_are_our_times_and_the_network_is_given_its_own(time_input):
    model = student(Flow(), "velocity", sampled("euler", "quadratic", (4,)), time_input=time_input)
    found = matching_scheduler(model)
    scheduler = getattr(diffusers, found.class_name)(**found.config)
    scheduler.set_timesteps(sigmas=found.grids[4])
    times = time_grid(Flow(), 4, "quadratic")
    torch.testing.assert_close(scheduler.sigmas.double(), times, rtol=0, atol=1e-6)
    a, b = found.clock
    given = a * scheduler.timesteps.double() + b
    wanted = times[:-1] if time_input == "time" else 1000 * times[:-1] - 1
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-3)


def test_flow_maps_and_jumps_have_schedulers_of_their_own():
    two = matching_scheduler(student(Flow(), "velocity", sampled("ddim"), two=True))
    jumps = matching_scheduler(student(Flow(), "velocity", sampled("consistency")))
    trig = matching_scheduler(student(Trig(), "velocity", sampled("consistency"), time_input="time"))
    assert [found.landing for found in (two, jumps, trig)] == ["next", "data", "data"]
    assert (two.class_name, trig.class_name) == ("FlowMapEulerDiscreteScheduler", "SCMScheduler")
    assert jumps.config == {"stochastic_sampling": True}
