"""Closed-form teachers against brute force."""

import math

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.guidance import Guided
from fastdiff.core.schedule import SCHEDULES, Cosine, Flow, Karras, Trig
from fastdiff.networks.oracle import GaussianMixture, Points
from fastdiff.samplers import SAMPLERS, time_grid
from tests.helpers.tensors import f64

schedules = pytest.mark.parametrize(
    "schedule", [*(kind() for kind in SCHEDULES.values()), Trig(sigma_data=0.5)], ids=repr
)


def mixture(schedule):
    return GaussianMixture(f64([[-1.0], [0.3], [2.0]]), f64([0.2, 0.5, 0.05]), f64([2.0, 1.0, 1.0]), schedule)


@schedules
def test_mixture_is_the_posterior_mean(schedule):
    """Bayes by the trapezoid rule on a fine grid of clean data."""
    model = mixture(schedule)
    grid = torch.linspace(-4, 5, 40_001, dtype=torch.float64)
    prior = sum(
        w / std * (-((grid - mean) ** 2) / (2 * std**2)).exp()
        for w, mean, std in [(2, -1.0, 0.2), (1, 0.3, 0.5), (1, 2.0, 0.05)]
    )
    t = f64([0.05, 0.3, 0.6, 0.95]) * schedule.t_max
    x = f64([-0.7, 0.9, 1.4, -0.2])[:, None] * schedule.alpha_sigma(t)[1][:, None].clamp(min=1)
    alpha, sigma = schedule.alpha_sigma(t)
    share = prior * (-((x - alpha[:, None] * grid) ** 2) / (2 * sigma[:, None] ** 2)).exp()
    wanted = (share * grid).sum(1) / share.sum(1)
    torch.testing.assert_close(model(x, t).x0[:, 0], wanted, rtol=1e-6, atol=1e-6)
    single = torch.cat([model(x[i : i + 1], t[i]).x0 for i in range(4)])
    torch.testing.assert_close(single[:, 0], wanted, rtol=1e-6, atol=1e-6)


def test_images_are_vectors_to_the_mixture():
    g = torch.Generator().manual_seed(0)
    means, x = torch.randn(4, 2, 3, 4, generator=g).double(), torch.randn(5, 2, 3, 4, generator=g).double()
    stds, weights, t = (
        f64([0.1, 0.5, 1.0, 0.2]),
        torch.ones(4).double(),
        torch.linspace(0.2, 0.9, 5, dtype=torch.float64),
    )
    image = GaussianMixture(means, stds, weights, Flow())
    vector = GaussianMixture(means.flatten(1), stds, weights, Flow())
    assert image.shape == (2, 3, 4) and vector.shape == (24,)
    torch.testing.assert_close(image(x, t).x0.flatten(1), vector(x.flatten(1), t).x0)


def test_a_mixture_is_unbiased():
    """E[x0 - E[x0 | x]] = 0, also against functions of x (Monte Carlo)."""
    g, n = torch.Generator().manual_seed(0), 200_000
    model = mixture(Cosine())
    kind = torch.multinomial(f64([0.5, 0.25, 0.25]), n, replacement=True, generator=g)
    x0 = (f64([-1.0, 0.3, 2.0])[kind] + f64([0.2, 0.5, 0.05])[kind] * torch.randn(n, generator=g).double())[
        :, None
    ]
    t = f64(0.45)
    x = Cosine().mix(x0, torch.randn(n, 1, generator=g).double(), t)
    error = x0 - model(x, t).x0
    for probe in (torch.ones_like(x), x, x**2, (x > 0).double()):
        assert (error * probe).mean().abs() < 5 * (error * probe).std() / math.sqrt(n)


@schedules
@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_points_lands_on_the_data(schedule, sampler):
    data = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = Points(data, schedule)
    times = time_grid(schedule, 60, "karras")
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = x * schedule.alpha_sigma(times[0])[1]
    *_, last = SAMPLERS[sampler](Guided(model), x, times)
    distance = torch.cdist(last.x, data)
    loose = 1e-2 if sampler in ("euler", "heun") else 1e-6  # no straight paths in most schedules
    assert distance.min(1).values.max() < loose and distance.argmin(1).unique().numel() == 5


def test_points_in_float32_is_finite_down_to_the_last_ratio():
    model = Points(torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), Karras())
    x = 80 * torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for state in SAMPLERS["heun"](Guided(model), x, time_grid(Karras(), 18, "karras")):
        assert state.x.isfinite().all() and state.x.dtype == torch.float32
    assert torch.cdist(state.x.flatten(1), model.net.means.flatten(1)).min(1).values.max() < 1e-2


@schedules
def test_ddim_on_a_gaussian_is_a_linear_recursion(schedule):
    mean, std = 0.7, 0.4
    model = GaussianMixture(f64([[mean]]), f64([std]), f64([1.0]), schedule)
    times = time_grid(schedule, 12)
    x = f64([[1.3], [-0.2]]) * schedule.alpha_sigma(times[0])[1]
    value = x[:, 0].tolist()
    for state, t, s in zip(SAMPLERS["ddim"](Guided(model), x, times), times[:-1], times[1:], strict=True):
        (at, st), (as_, ss) = ([float(c) for c in schedule.alpha_sigma(u)] for u in (t, s))
        gain = at * std**2 / (at**2 * std**2 + st**2)
        clean = [mean + gain * (v - at * mean) for v in value]
        value = [as_ * c + ss / st * (v - at * c) for v, c in zip(value, clean, strict=True)]
        assert state.x[:, 0].tolist() == pytest.approx(value, rel=1e-10, abs=1e-12)
        assert state.x0[:, 0].tolist() == pytest.approx(clean, rel=1e-10, abs=1e-12)


def test_the_oracle_is_where_its_buffers_are():
    model = mixture(Cosine())
    assert model.device == torch.device("cpu") and not list(model.parameters())
    assert model.to("meta").device == torch.device("meta")
    assert Denoiser(torch.nn.Identity(), Cosine(), "v").device == torch.device("cpu")
