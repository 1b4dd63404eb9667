"""One-step solvers of the ODE: the papers' algorithms, and diffusers on the same noise."""

from itertools import pairwise

import pytest
import torch

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import DDPM, Flow, Karras
from fastdiff.samplers import time_grid
from tests.helpers.diffusers_schedulers import exact, on_our_grid
from tests.helpers.tensors import f64
from tests.helpers.walks import mixture, noise, walk

# ---- the papers


def test_heun_is_algorithm_1_of_karras():
    model, n = mixture(Karras()), 18
    ramp = [(80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(n)] + [0.0]
    x = 80 * noise()
    clean = lambda x, level: model(x, f64([level] * len(x))).x0  # noqa: E731
    for now, to in pairwise(ramp):
        slope = (x - clean(x, now)) / now
        ahead = x + (to - now) * slope
        if to > 0:
            ahead = x + (to - now) / 2 * (slope + (ahead - clean(ahead, to)) / to)
        x = ahead
    torch.testing.assert_close(walk("heun", model, 80 * noise(), time_grid(Karras(), n, "karras"))[-1].x, x)


@pytest.mark.parametrize("schedule", [Flow(), Karras()], ids=repr)
def test_euler_is_ddim_on_straight_paths(schedule):
    times = time_grid(schedule, 7)
    x = noise() * schedule.alpha_sigma(times[0])[1]
    for a, b in zip(*(walk(name, mixture(schedule), x, times) for name in ("euler", "ddim")), strict=True):
        torch.testing.assert_close(a.x, b.x)


# ---- diffusers, on the same noise and network


class Scaled(torch.nn.Module):
    """The table's network seen from x / alpha and sigma / alpha, where Euler's and Heun's schedulers live."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, y, sigma, s=None, cond=None):
        return self.net(y * like((sigma**2 + 1).rsqrt(), y), DDPM().time_of(sigma) - 1)


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_euler_is_diffusers(net64, steps):
    from diffusers import EulerDiscreteScheduler

    model = Denoiser(Scaled(net64), Karras(), "eps", time_input="time")
    times = time_grid(Karras(), steps, "karras")
    got = walk("euler", model, 80 * noise(dims=3), times)
    wanted = on_our_grid(EulerDiscreteScheduler(), model, 80 * noise(dims=3), times)
    torch.testing.assert_close(got[-1].x, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [3, 20])
def test_heun_is_diffusers(net64, steps):
    from diffusers import HeunDiscreteScheduler

    scheduler = exact(HeunDiscreteScheduler(beta_start=1e-4, beta_end=2e-2, timestep_spacing="trailing"))
    scheduler.set_timesteps(steps)
    ratios = scheduler.sigmas[
        [0, *range(1, 2 * steps, 2)]
    ].double()  # each but the first and last comes twice
    x = noise(dims=3) * ratios[0]
    states = walk("heun", Denoiser(Scaled(net64), Karras(), "eps", time_input="time"), x, ratios)
    for t in scheduler.timesteps:
        timestep = DDPM().time_of(scheduler.sigmas[scheduler.step_index or 0].double()) - 1
        x = scheduler.step(
            net64(scheduler.scale_model_input(x, t), timestep.expand(len(x))), t, x
        ).prev_sample
    torch.testing.assert_close(states[-1].x, x, rtol=1e-5, atol=1e-5)
