"""Walks of samplers: schedules, exact models of Gaussians and mixtures, and noise that comes again."""

import math
from functools import cache
from itertools import pairwise

import pytest
import torch

from fastdiff.core.guidance import Guided
from fastdiff.core.schedule import SCHEDULES, Trig
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.samplers import SAMPLERS
from tests.helpers.tensors import f64

ALL_SCHEDULES = [*(kind() for kind in SCHEDULES.values()), Trig(sigma_data=0.7)]
schedules = pytest.mark.parametrize("schedule", ALL_SCHEDULES, ids=repr)


ADAPTIVE = [name for name, f in SAMPLERS.items() if f.traits.adaptive]


RATES = ("euler", "heun")  # in the schedule's own time: where its rates are infinite they refuse


def gaussian(std, schedule, mean=0.0):
    return GaussianMixture(f64([[mean]]), f64([std]), f64([1.0]), schedule)


def mixture(schedule):
    means = f64([[-1.0, 0.2], [0.8, 1.0], [0.5, -1.2]])
    return GaussianMixture(means, f64([0.3, 0.2, 0.4]), f64([1.0, 2.0, 1.0]), schedule)


def noise(n=32, dims=2, seed=1):
    return torch.randn(n, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reused(seed=5, scale=1.0):
    """The same sequence of draws each time it is made."""
    generator = torch.Generator().manual_seed(seed)
    return lambda x: scale * torch.randn(x.shape, generator=generator, dtype=x.dtype)


def walk(sampler, model, x, times, **options):
    return list(SAMPLERS[sampler.split()[0]](Guided(model), x, times, **options))


@cache
def reference(schedule, start, end, steps):
    """The end of noise() sigma(start) by Runge-Kutta 4 on dx/dt, in log t."""
    model, x = mixture(schedule), noise() * schedule.alpha_sigma(f64(start))[1]
    slope = lambda x, u: schedule.velocity(*model(x, u.exp()), u.exp()) * u.exp()  # noqa: E731
    grid = torch.linspace(math.log(start), math.log(end), steps + 1, dtype=torch.float64)
    for u, w in pairwise(grid):
        h, mid = w - u, (u + w) / 2
        a = slope(x, u)
        b = slope(x + h / 2 * a, mid)
        c = slope(x + h / 2 * b, mid)
        x = x + h / 6 * (a + 2 * b + 2 * c + slope(x + h * c, w))
    return x


def variances(sampler, model, start, times, **options):
    """Of every state, exactly: samplers are linear on a centred Gaussian,
    so each source of noise is sent through alone."""
    n, count = len(times) + 1, iter(range(1, len(times) + 1))
    source = torch.eye(n, dtype=torch.float64)[:, :, None]  # source[k]: 1 for sample k alone
    draws = lambda x: source[next(count)]  # noqa: E731
    states = walk(sampler, model, start * source[0], times, randn=draws, **options)
    return f64([float(state.x.square().sum()) for state in states])


def ratios(schedule, start, end, steps):
    """Times at which sigma / alpha falls by equal factors, and 0."""
    levels = torch.logspace(math.log10(start), math.log10(end), steps, dtype=torch.float64)
    return torch.cat([schedule.time_of(levels), torch.zeros(1, dtype=torch.float64)])
