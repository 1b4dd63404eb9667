"""Samplers of few-step students: the gamma family from deterministic jumps to fresh noise."""

import math
from itertools import pairwise

import pytest
import torch

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.schedule import DDPM, SCHEDULES, Cosine, Karras, Sigmoid
from fastdiff.samplers import time_grid
from tests.helpers.tensors import f64
from tests.helpers.walks import mixture, noise, reused, schedules, variances, walk


class FlowMap(torch.nn.Module):
    """The x0 by which DDIM from t lands exactly at s on the flow of N(0, std^2); it keeps
    the s it is told."""

    def __init__(self, schedule, std=0.6):
        super().__init__()
        self.schedule, self.std, self.told = schedule, std, []

    def forward(self, x, t, s, cond=None):
        self.told.append(float(s[0]))
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.schedule.alpha_sigma(t), self.schedule.alpha_sigma(s)
        scale = (((alpha_s * self.std) ** 2 + sigma_s**2) / ((alpha_t * self.std) ** 2 + sigma_t**2)).sqrt()
        turn = sigma_s / sigma_t
        return x * like((scale - turn) / (alpha_s - turn * alpha_t), x)


def flow_map(schedule):
    return Denoiser(FlowMap(schedule), schedule, "x0", (2,), time_input="time", two_times=True)


@schedules
@pytest.mark.parametrize("teacher", [mixture, flow_map])
@pytest.mark.parametrize(("gamma", "sampler"), [(0.0, "ddim"), (1.0, "consistency")])
def test_the_ends_of_the_family(schedule, teacher, gamma, sampler):
    times = time_grid(schedule, 5)
    x = noise() * schedule.alpha_sigma(times[0])[1]
    options = {} if sampler == "ddim" else {"randn": reused()}
    for a, b in zip(
        walk("gamma", teacher(schedule), x, times, gamma=gamma, randn=reused()),
        walk(sampler, teacher(schedule), x, times, **options),
        strict=True,
    ):
        torch.testing.assert_close(a.x, b.x)


@schedules
@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_an_exact_flow_map_keeps_the_distribution(schedule, gamma, steps):
    """Whatever gamma: linear in x, so each source of noise is sent through alone. Told any other time, it
    would not."""
    times = time_grid(schedule, steps)
    alpha, sigma = schedule.alpha_sigma(times)
    exact = (0.6 * alpha) ** 2 + sigma**2
    source, count = torch.eye(steps + 2, dtype=torch.float64)[:, :, None], iter(range(1, steps + 2))
    states = walk(
        "gamma",
        flow_map(schedule),
        exact[0].sqrt() * source[0],
        times,
        gamma=gamma,
        randn=lambda x: source[next(count)],
    )
    torch.testing.assert_close(f64([float(state.x.square().sum()) for state in states]), exact[1:])


@pytest.mark.parametrize(
    "schedule", [*(kind() for kind in SCHEDULES.values()), Sigmoid(start=-0.5)], ids=repr
)
@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.8, 1.0])
def test_the_network_is_told_where_it_lands(schedule, gamma):
    model, times = flow_map(schedule), time_grid(schedule, 5)
    walk("gamma", model, noise() * schedule.alpha_sigma(times[0])[1], times, gamma=gamma)
    (alpha, sigma), (alphas, sigmas) = (
        schedule.alpha_sigma(f64(model.net.told)),
        schedule.alpha_sigma(times[1:]),
    )
    assert min(model.net.told) >= 0
    torch.testing.assert_close(sigma / alpha, math.sqrt(1 - gamma**2) * sigmas / alphas, rtol=1e-7, atol=1e-9)


@schedules
@pytest.mark.parametrize("steps", [1, 2, 3, 6])
def test_overshooting_along_an_exact_flow_map_keeps_the_distribution(schedule, steps):
    """As for gamma; the network is told the time after the next, or 0, and asked once a step."""
    times, model = time_grid(schedule, steps), flow_map(schedule)
    alpha, sigma = schedule.alpha_sigma(times)
    exact = (0.6 * alpha) ** 2 + sigma**2
    source, count = torch.eye(steps + 2, dtype=torch.float64)[:, :, None], iter(range(1, steps + 2))
    states = walk("overshoot", model, exact[0].sqrt() * source[0], times, randn=lambda x: source[next(count)])
    torch.testing.assert_close(f64([float(state.x.square().sum()) for state in states]), exact[1:])
    assert (
        model.net.told == [*times[2:].tolist(), 0.0] and next(count) == steps
    )  # noise at every step but the last


def test_overshoot_is_the_rule_of_meng():
    """z_k by DDIM two steps on, then noise of variance (1 - e^(lambda_s - lambda_k)) sigma_s^2
    one step back."""
    schedule = Cosine()
    model, randn, times = mixture(schedule), reused(), time_grid(schedule, 4)
    x, start = noise(), noise()
    for t, s, k in zip(times, times[1:], [*times[2:], times[-1]], strict=False):
        (alpha_t, alpha_s, alpha_k), (sigma_t, sigma_s, sigma_k) = schedule.alpha_sigma(
            torch.stack([t, s, k])
        )
        clean = model(x, t).x0
        x = alpha_k * clean + sigma_k * (x - alpha_t * clean) / sigma_t
        if s > 0:
            log_snr_s, log_snr_k = 2 * (alpha_s / sigma_s).log(), 2 * (alpha_k / sigma_k).log()
            x = alpha_s / alpha_k * x + ((1 - (log_snr_s - log_snr_k).exp()) * sigma_s**2).sqrt() * randn(x)
    torch.testing.assert_close(walk("overshoot", model, start, times, randn=reused())[-1].x, x)


def test_gamma_is_algorithm_3_of_kim():
    model, randn, levels, gamma = mixture(Karras()), reused(), [80.0, 20.0, 5.0, 0.5, 0.0], 0.3
    x = 80 * noise()
    for now, to in pairwise(levels):
        low = math.sqrt(1 - gamma**2) * to
        clean = model(x, f64(now)).x0
        x = low / now * x + (1 - low / now) * clean  # G(x, now, low)
        x = x + gamma * to * randn(x) if to else x
    got = walk("gamma", model, 80 * noise(), f64(levels), gamma=gamma, randn=reused())
    torch.testing.assert_close(got[-1].x, x)


@pytest.mark.parametrize("gamma", [-0.1, 1.1, math.nan])
def test_gamma_out_of_range_is_refused(gamma):
    with pytest.raises(FastdiffError, match="sampler gamma: gamma = .*: expected 0"):
        walk("gamma", mixture(Karras()), noise(), f64([80.0, 0.0]), gamma=gamma)


# ---- diffusers, on the same noise and network


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", [2, 4])
def test_each_step_is_the_tcd_of_diffusers(net, steps, eta):
    """Their gamma is a share of the time s, ours one of its level. Their last step ends at timestep 0, which
    is not data: our last level is that of t = 1, to which TCD jumps without noise."""
    from diffusers import TCDScheduler

    scheduler = TCDScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=2e-2, clip_sample=False)
    scheduler.set_timesteps(steps)
    scheduler.alphas_cumprod = DDPM().table[1:].square().float()
    model, generator, randn = Denoiser(net, DDPM(), "eps"), torch.Generator().manual_seed(5), reused()
    entries = [*scheduler.timesteps.tolist(), 0]
    x = ours = noise(dims=3).float()
    for i, (now, to) in enumerate(pairwise(entries)):
        t = torch.tensor(now)
        x = scheduler.step(net(x, t.float().expand(len(x))), t, x, eta=eta, generator=generator).prev_sample
        below = math.floor((1 - eta) * to)
        (alpha_u, alpha_s), (sigma_u, sigma_s) = DDPM().alpha_sigma(f64([below + 1.0, to + 1.0]))
        gamma = (
            math.sqrt(1 - min(1.0, float(sigma_u / alpha_u * alpha_s / sigma_s)) ** 2)
            if i < steps - 1
            else 0.0
        )
        ours = walk("gamma", model, ours, f64([now + 1.0, to + 1.0]), gamma=gamma, randn=randn)[-1].x
        torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4 * float(x.abs().max()))


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_gamma_1_is_the_consistency_sampler_of_diffusers(net, steps):
    from diffusers import CMStochasticIterativeScheduler

    scheduler = CMStochasticIterativeScheduler(
        sigma_min=0.0, sigma_max=80.0, sigma_data=0.5, clip_denoised=False
    )
    scheduler.set_timesteps(steps)
    model = Denoiser(net, Karras(), "edm", time_input="cm", sigma_data=0.5, scale_input=True)
    x, generator = 80 * noise(dims=3).float(), torch.Generator().manual_seed(5)
    for t in scheduler.timesteps:
        output = net(scheduler.scale_model_input(x, t), t.float().expand(len(x)))
        x = scheduler.step(output, t, x, generator=generator).prev_sample
    got = walk(
        "gamma", model, 80 * noise(dims=3).float(), scheduler.sigmas.double(), gamma=1.0, randn=reused()
    )
    torch.testing.assert_close(got[-1].x, x, rtol=1e-4, atol=1e-4)


# ---- stochastic samplers


@schedules
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_an_exact_consistency_function_keeps_the_distribution(schedule, steps):
    """N(0, std^2): f(x, t) = std x / sqrt(alpha^2 std^2 + sigma^2); exact in any number of steps."""
    std = 0.6

    class Jump(torch.nn.Module):
        def forward(self, x, t, s, cond=None):
            assert (s == 0).all() and s.shape == t.shape == (len(x),)
            alpha, sigma = schedule.alpha_sigma(t)
            return x * like(std / (alpha**2 * std**2 + sigma**2).sqrt(), x)

    model = Denoiser(Jump(), schedule, "x0", (1,), time_input="time", two_times=True)
    times = time_grid(schedule, steps)
    alpha, sigma = schedule.alpha_sigma(times)
    got = variances("consistency", model, (alpha[0] ** 2 * std**2 + sigma[0] ** 2).sqrt(), times)
    torch.testing.assert_close(got, alpha[1:] ** 2 * std**2 + sigma[1:] ** 2)


# ---- diffusers, on the same noise and network


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_consistency_is_diffusers(net64, steps):
    """EDM coordinates: a student of ours runs under the stock consistency scheduler."""
    from diffusers import CMStochasticIterativeScheduler

    scheduler = CMStochasticIterativeScheduler(
        sigma_min=0.0, sigma_max=80.0, sigma_data=0.5, clip_denoised=False
    )
    scheduler.set_timesteps(steps)
    model = Denoiser(net64, Karras(), "edm", time_input="cm", sigma_data=0.5, scale_input=True)
    ratios = scheduler.sigmas.double()
    x = start = 80 * noise(dims=3)
    generator = torch.Generator().manual_seed(5)
    for t in scheduler.timesteps:
        output = net64(scheduler.scale_model_input(x, t), t.double().expand(len(x)))
        x = scheduler.step(output, t, x, generator=generator).prev_sample
    got = walk("consistency", model, start, ratios, randn=reused())
    torch.testing.assert_close(got[-1].x, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("predicts", ["cm", "edm"])
def test_the_noise_of_consistency_models_leaves_out_what_x0_has(predicts):
    """From the ratio 0.002 on, where a model that predicts cm is the identity, as in diffusers."""
    net = torch.nn.Identity()
    net.forward = lambda x, t, s, cond: 0 * x
    model = Denoiser(net, Karras(), predicts, (2,), "cm", 0.5)
    times = f64([80.0, 0.005, 0.0])
    first, _ = walk("consistency", model, torch.zeros(1, 2).double(), times, randn=torch.ones_like)
    wanted = math.sqrt(0.005**2 - 0.002**2) if predicts == "cm" else 0.005
    torch.testing.assert_close(first.x, torch.full((1, 2), wanted).double())
