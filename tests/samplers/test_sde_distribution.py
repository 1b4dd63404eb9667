"""Samplers that add noise keep the distribution: of a mixture in many dimensions,
and of Gaussian data by recursion."""

import math
from itertools import pairwise

import pytest
import torch

from fastdiff.core.schedule import VP, Cosine, Flow, Karras
from fastdiff.networks.oracle import GaussianMixture
from tests.helpers.many_modes import MEANS, STDS, WEIGHTS, centres, mixture
from tests.helpers.tensors import f64
from tests.helpers.walks import ratios, reused, schedules, walk


def gaussian(std, schedule):
    return GaussianMixture(f64([[0.0]]), f64([std]), f64([1.0]), schedule)


# ---- a mixture in many dimensions, all of whose modes lie in the first two


def draws(n, dims, generator):
    kind = torch.multinomial(WEIGHTS, n, True, generator=generator)
    return centres(dims)[kind] + STDS[kind, None] * torch.randn(
        n, dims, generator=generator, dtype=torch.float64
    )


def surprise(x):
    """The largest distance from the mixture's own moments, in standard errors.

    Of the weights of the modes, the mean and covariance in the plane, and the spread around the modes.
    """
    distance = (x[:, None] - centres(x.shape[1])).square().sum(2)
    nearest = distance.argmin(1)
    spread = distance.gather(1, nearest[:, None]) / (x.shape[1] * STDS[nearest, None] ** 2)
    a, b = x[:, :1], x[:, 1:2]
    found = torch.cat([torch.nn.functional.one_hot(nearest, 3), a, b, a * a, a * b, b * b, spread], 1)
    second = (
        WEIGHTS[:, None, None]
        * (MEANS[:, :, None] * MEANS[:, None] + STDS[:, None, None] ** 2 * torch.eye(2))
    ).sum(0)
    wanted = torch.cat(
        [WEIGHTS, WEIGHTS @ MEANS, second[[0, 0, 1], [0, 1, 1]], torch.ones(1, dtype=torch.float64)]
    )
    return float(((found.mean(0) - wanted) / (found.std(0) / len(x) ** 0.5)).abs().max())


# Samples, steps, dimensions: enough that what the steps lose is small beside 5 % of noise. euler_ancestral is
# ddim at eta 1. The corrector needs the dimensions: its norms scatter in few.
LONG_WALKS = [
    ("ddpm", 4000, 500, 2, {}),
    ("euler_ancestral", 4000, 500, 2, {}),
    ("dpmpp_2m_sde", 4000, 60, 2, {}),
    ("edm", 4000, 60, 2, {"churn": 100.0}),
    ("predictor_corrector", 4000, 500, 2, {"corrections": 0}),
    ("predictor_corrector", 150, 150, 256, {"snr": 0.08}),
    ("langevin", 4000, 60, 2, {"snr": 0.5, "corrections": 8}),
]


@pytest.mark.parametrize(("sampler", "n", "steps", "dims", "options"), LONG_WALKS, ids=str)
def test_the_distribution_is_kept_and_too_much_noise_is_seen(sampler, n, steps, dims, options):
    """From noise of three times the data, where the modes are one;
    with 5 % more noise the same check fails."""
    schedule = Cosine()
    times = ratios(schedule, 3.0, 0.01, steps)
    (alpha, sigma), seeded = schedule.levels(times)[0], torch.Generator().manual_seed(3)
    x = alpha * draws(n, dims, seeded) + sigma * torch.randn(n, dims, generator=seeded, dtype=torch.float64)
    right, wrong = (
        surprise(walk(sampler, mixture(schedule, dims), x, times, randn=reused(7, scale), **options)[-1].x)
        for scale in (1.0, 1.05)
    )
    assert right < 4 < wrong, (right, wrong)


def test_the_check_passes_the_mixture_itself():
    generator = torch.Generator().manual_seed(0)
    assert surprise(draws(6000, 2, generator)) < 4 < surprise(1.05 * draws(6000, 2, generator))


# ---- Gaussian data: samplers are linear, so their variance is a recursion


def variances(sampler, schedule, std, start, times, **options):
    """Of every state, exactly: each source of noise is sent through alone."""
    n, count = 2 * len(times), iter(range(1, 2 * len(times)))
    source = torch.eye(n, dtype=torch.float64)[:, :, None]
    states = walk(
        sampler,
        gaussian(std, schedule),
        start * source[0],
        times,
        randn=lambda x: source[next(count)],
        **options,
    )
    return f64([float(state.x.square().sum()) for state in states])


@pytest.mark.parametrize("schedule", [Karras(), VP(), Flow()], ids=repr)
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_euler_ancestral_variance_is_the_recursion(schedule, eta):
    """y = x / alpha: y_s = (down / r_t) y_t + (1 - down / r_t) D + up z with D = std^2 / (std^2 + r_t^2)
    y_t."""
    std, times = 0.5, ratios(schedule, 5.0, 0.05, 12)
    r = [*torch.logspace(math.log10(5.0), math.log10(0.05), 12, dtype=torch.float64).tolist(), 0.0]
    variance, wanted = std**2 + r[0] ** 2, []
    for now, to in pairwise(r):
        up = eta * to * math.sqrt(1 - (to / now) ** 2)
        turn = math.sqrt(to**2 - up**2) / now
        variance = (turn + (1 - turn) * std**2 / (std**2 + now**2)) ** 2 * variance + up**2
        wanted.append(variance)
    alpha, _ = schedule.alpha_sigma(times)
    start = alpha[0] * math.sqrt(std**2 + r[0] ** 2)
    got = variances("euler_ancestral", schedule, std, start, times, eta=eta)
    torch.testing.assert_close(got, alpha[1:] ** 2 * f64(wanted))


@pytest.mark.parametrize("schedule", [Karras(), VP(), Flow()], ids=repr)
def test_edm_variance_is_the_recursion(schedule):
    std, noise_scale, times = 0.5, 1.1, ratios(schedule, 5.0, 0.05, 12)
    r = [*torch.logspace(math.log10(5.0), math.log10(0.05), 12, dtype=torch.float64).tolist(), 0.0]
    variance, wanted = std**2 + r[0] ** 2, []
    for now, to in pairwise(r):
        peak = now * 1.25 if 0.1 < now < 3 else now
        variance += noise_scale**2 * (peak**2 - now**2)
        slope = peak / (std**2 + peak**2)  # of y: (y - D(y)) / peak
        ahead = 1 + (to - peak) * slope
        gain = 1 + (to - peak) * (slope + ahead * to / (std**2 + to**2)) / 2 if to else ahead
        variance *= gain**2
        wanted.append(variance)
    alpha, _ = schedule.alpha_sigma(times)
    got = variances(
        "edm",
        schedule,
        std,
        alpha[0] * math.sqrt(std**2 + r[0] ** 2),
        times,
        churn=3.0,
        churn_min=0.1,
        churn_max=3.0,
        noise_scale=noise_scale,
    )
    torch.testing.assert_close(got, alpha[1:] ** 2 * f64(wanted))


@schedules
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_dpmpp_2m_sde_keeps_the_variance_of_the_data(schedule, eta):
    errors = []
    for steps in (40, 80):
        times = ratios(schedule, 5.0, 0.05, steps)
        alpha, sigma = schedule.alpha_sigma(times)
        exact = (0.5 * alpha) ** 2 + sigma**2
        got = variances("dpmpp_2m_sde", schedule, 0.5, exact[0].sqrt(), times, eta=eta)
        errors.append(float((got / exact[1:] - 1)[:-1].abs().max()))
    assert errors[1] < 4e-3 and errors[1] < errors[0] / 3  # second order in the mean
