"""What all samplers keep to."""

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.core.schedule import Cosine
from fastdiff.samplers import SAMPLERS, SPACINGS, time_grid
from tests.helpers.tensors import f64
from tests.helpers.walks import ADAPTIVE, ALL_SCHEDULES, RATES, mixture, noise, schedules, walk

samplers = pytest.mark.parametrize("sampler", list(SAMPLERS))


def rotation():
    """Every sampler with every spacing, and with the schedules in turn, so that it meets all of these too."""
    for i, sampler in enumerate(SAMPLERS):
        for j, spacing in enumerate(SPACINGS):
            yield sampler, spacing, ALL_SCHEDULES[(i + j) % len(ALL_SCHEDULES)]


@pytest.mark.parametrize(("sampler", "spacing", "schedule"), rotation(), ids=str)
def test_few_steps_are_finite_and_counted(sampler, spacing, schedule):
    for steps in (1,) if sampler in ADAPTIVE else (1, 2, 3):
        times = time_grid(schedule, steps, spacing)
        denoise = Guided(mixture(schedule))
        walking = SAMPLERS[sampler](denoise, noise() * schedule.alpha_sigma(times[0])[1], times)
        if sampler in RATES and not schedule.rates(times[0])[0].isfinite():
            with pytest.raises(FastdiffError, match=r"euler and heun: .* infinite at t = 1; use ddim"):
                next(walking)
            continue
        states = list(walking)
        reached = [float(state.t) for state in states]
        if sampler in ADAPTIVE:
            assert reached == sorted(reached, reverse=True) and reached[0] < times[0] and reached[-1] == 0
        else:
            assert reached == times[1:].tolist()
        assert all(state.x.isfinite().all() and state.x0.isfinite().all() for state in states)
        assert all(
            state.t.device.type == "cpu" and state.t.dtype == torch.float64 and not state.t.ndim
            for state in states
        )
        each = SAMPLERS[sampler].traits.nfe
        assert denoise.nfe == steps if each == "1" else denoise.nfe >= steps


@samplers
@schedules
def test_the_last_step_is_the_clean_prediction(sampler, schedule):
    x = noise() * schedule.alpha_sigma(f64(schedule.t_max))[1]
    *_, last = walk(sampler, mixture(schedule), x, time_grid(schedule, 5, "karras"))
    torch.testing.assert_close(last.x, last.x0, rtol=0, atol=0)


@samplers
def test_the_caller_may_stop_early(sampler):
    denoise, whole = Guided(mixture(Cosine())), Guided(mixture(Cosine()))
    walking = SAMPLERS[sampler](denoise, noise(), time_grid(Cosine(), 10))
    assert denoise.nfe == 0
    next(walking)
    state = next(walking)
    walking.close()
    for _ in SAMPLERS[sampler](whole, noise(), time_grid(Cosine(), 10)):
        pass
    assert 0 < denoise.nfe < whole.nfe and (sampler in ADAPTIVE or float(state.t) == 0.8)


@samplers
def test_float32_in_float32_out_and_the_noise_is_left_alone(sampler):
    x = noise().float()
    before = x.clone()
    states = walk(sampler, mixture(Cosine()), x, time_grid(Cosine(), 4))
    assert all(state.x.dtype == state.x0.dtype == torch.float32 for state in states) and torch.equal(
        x, before
    )
