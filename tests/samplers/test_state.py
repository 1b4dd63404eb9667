"""States that samplers yield, and the traits by which a sampler is known before it runs."""

import pytest
import torch

from fastdiff.core.guidance import Guided
from fastdiff.core.schedule import SCHEDULES, Cosine
from fastdiff.samplers import SAMPLERS, time_grid
from fastdiff.samplers.state import State, Traits, traits
from tests.helpers.walks import ADAPTIVE, mixture, noise, schedules


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in ADAPTIVE])
@schedules
def test_states_say_what_was_predicted(sampler, schedule):
    """State.x0 is the prediction at the time before, of a multistep solver too."""
    if (
        SAMPLERS[sampler].traits.nfe not in ("1", "2, the last 1")
        and SAMPLERS[sampler].traits.noise != "none"
    ):
        pytest.skip("what it predicts last is of a state that it moved on the way")
    model, times = mixture(schedule), time_grid(schedule, 6, "karras")
    x = noise() * schedule.alpha_sigma(times[0])[1]
    for t, state in zip(times[:-1], SAMPLERS[sampler](Guided(model), x, times), strict=True):
        torch.testing.assert_close(state.x0, model(x, t).x0)
        x = state.x


def test_a_state_unpacks_and_computes_its_clean_data_at_first_use():
    model, x, t = mixture(next(iter(SCHEDULES.values()))()), noise(), torch.tensor(0.5, dtype=torch.float64)
    state = State(t, x, model(x, t))
    assert [*state][:2] == [t, x] and torch.equal(state.x0, model(x, t).x0)
    assert State(t, x, x).x0 is x


def test_noise_is_drawn_where_the_option_says_so():
    @traits(order="1", noise_option="eta")
    def walk(denoise, x, times, eta=0.5):
        yield from ()

    found = walk.traits
    assert (found.noise, found.noise_default) == ("where eta > 0", 0.5)
    assert [found.draws_noise(options) for options in ({}, {"eta": 0.0}, {"eta": 0.1})] == [True, False, True]
    assert Traits("1", noise="every step").draws_noise({}) and not Traits("1").draws_noise({"eta": 1.0})


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_a_sampler_draws_noise_only_where_its_traits_say_so(sampler):
    drawn = []

    def randn(x):
        drawn.append(1)
        return torch.zeros_like(x)

    run = SAMPLERS[sampler]
    if not run.traits.draws_noise({}):
        assert run.traits.noise_option is None or run.traits.noise_default == 0
        return
    for _ in run(Guided(mixture(Cosine())), noise(), time_grid(Cosine(), 4), randn=randn):
        pass
    assert drawn
