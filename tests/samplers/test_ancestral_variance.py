"""Ancestral samplers by a network's own variance."""

import pytest
import torch
from diffusers import DDPMScheduler

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import DDPM, SCHEDULES, Cosine
from fastdiff.networks import mlp
from fastdiff.samplers import time_grid
from tests.helpers.variance import SHAPE, noise, reused, says, tiny, walk


@pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()], ids=repr)
@pytest.mark.parametrize(("share", "variance"), [(0.0, "small"), (1.0, "large")])
def test_its_ends_are_the_fixed_variances(schedule, share, variance):
    times = time_grid(schedule, 7)
    x = noise(16, 2) * schedule.alpha_sigma(times[0])[1]
    for got, wanted in zip(
        walk(says(schedule, share), x, times, variance="learned"),
        walk(says(schedule, 0.5), x, times, variance=variance),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)


def test_halfway_is_the_geometric_mean():
    x, times = noise(16, 2), time_grid(DDPM(), 7)[:2]
    small, learned, large = (
        walk(says(DDPM(), 0.5), x, times, variance=v)[0] for v in ("small", "learned", "large")
    )
    mean = (
        walk(says(DDPM(), 0.5), x, times, variance="small")[0] - small
    )  # the same noise: only its size differs
    assert (mean == 0).all()
    beta = 1 - (DDPM().alpha_sigma(times[0])[0] / DDPM().alpha_sigma(times[1])[0]) ** 2
    z, tilde = reused()(x), beta * (DDPM().alpha_sigma(times[1])[1] / DDPM().alpha_sigma(times[0])[1]) ** 2
    torch.testing.assert_close(large - small, (beta.sqrt() - tilde.sqrt()) * z)
    torch.testing.assert_close(learned - small, ((beta * tilde) ** 0.25 - tilde.sqrt()) * z)


@pytest.mark.parametrize("steps", [2, 10, 1000])
@pytest.mark.parametrize("predicts", ["eps", "v"])
def test_ancestral_steps_are_diffusers(predicts, steps):
    """The first steps. (Their last one adds noise to the finished sample unless it starts from timestep
    0.)"""
    model = tiny(predicts)
    scheduler = DDPMScheduler(
        variance_type="learned_range",
        clip_sample=False,
        timestep_spacing="trailing",
        prediction_type={"eps": "epsilon", "v": "v_prediction"}[predicts],
    )
    scheduler.set_timesteps(steps)
    x, generator = noise(2, *SHAPE).float(), torch.Generator().manual_seed(5)
    times = time_grid(model.schedule, steps)[:-1][:20]
    got = walk(model, x, times, variance="learned")
    with torch.no_grad():
        for t, ours in zip(scheduler.timesteps, got, strict=False):
            x = scheduler.step(model.net.module(x, t).sample, t, x, generator=generator).prev_sample
            torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5 * float(x.abs().max()))


def test_a_network_without_the_channels_is_refused():
    model = Denoiser(mlp((2,)), Cosine(), "v", (2,))
    with pytest.raises(
        FastdiffError, match="variance learned needs a network with twice the data's channels"
    ):
        walk(model, noise(4, 2).float(), time_grid(Cosine(), 2), variance="learned")
