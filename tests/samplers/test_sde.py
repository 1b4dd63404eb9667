"""Samplers that add noise: the papers' algebra, and what all of them keep to."""

import math
from itertools import pairwise

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.core.rng import SampleRng
from fastdiff.core.schedule import DDPM, VP, Cosine, Flow, Karras, Sigmoid, Trig
from fastdiff.samplers import SAMPLERS, time_grid
from tests.helpers.many_modes import mixture
from tests.helpers.tensors import f64
from tests.helpers.walks import noise, ratios, reused, schedules, walk

# Every sampler that draws noise, with the options that make it do so.
NOISY = {
    "ddpm": {},
    "ddpm large": {"variance": "large"},
    "ddim": {"eta": 1.0},
    "euler_ancestral": {},
    "edm": {"churn": 100.0},
    "dpmpp_2m_sde": {},
    "predictor_corrector": {},
    "langevin": {},
    "gamma": {"gamma": 0.5},
    "consistency": {},
}


noisy = pytest.mark.parametrize("name", NOISY)


# ---- the papers


@pytest.mark.parametrize(
    "options", [{}, {"churn_min": 0.05, "churn_max": 50.0, "noise_scale": 1.003}], ids=str
)
@pytest.mark.parametrize("churn", [4.0, 40.0])
def test_edm_is_algorithm_2_of_karras(churn, options):
    """Except that the network is never asked above t_max, where theirs goes if churn_max allows it."""
    model, n, randn = mixture(Karras()), 18, reused()
    ramp = [(80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(n)] + [0.0]
    x = start = 80 * noise()
    clean = lambda x, level: model(x, f64([level] * len(x))).x0  # noqa: E731
    for now, to in pairwise(ramp):
        inside = options.get("churn_min", 0) <= now <= options.get("churn_max", math.inf)
        peak = min(80.0, now * (1 + min(churn / n, math.sqrt(2) - 1))) if inside else now
        if peak > now:
            x = x + math.sqrt(peak**2 - now**2) * options.get("noise_scale", 1.0) * randn(x)
        slope = (x - clean(x, peak)) / peak
        ahead = x + (to - peak) * slope
        x = x + (to - peak) * (slope + (ahead - clean(ahead, to)) / to) / 2 if to else ahead
    got = walk("edm", model, start, time_grid(Karras(), n, "karras"), churn=churn, randn=reused(), **options)
    torch.testing.assert_close(got[-1].x, x)


class Asked(Guided):
    """A denoiser that keeps the times it was asked at."""

    def __init__(self, model):
        super().__init__(model)
        self.times = []

    def __call__(self, x, t, s):
        self.times.append(float(t))
        return super().__call__(x, t, s)


@schedules
def test_churn_asks_at_the_raised_level_and_not_above_the_last(schedule):
    times = time_grid(schedule, 8, "karras")
    denoise = Asked(mixture(schedule))
    for _ in SAMPLERS["edm"](denoise, noise() * schedule.alpha_sigma(times[0])[1], times, churn=1.0):
        pass
    (alpha, sigma), (alphas, sigmas) = (
        schedule.alpha_sigma(f64(denoise.times[::2])),
        schedule.alpha_sigma(times[:-1]),
    )
    top_alpha, top_sigma = schedule.alpha_sigma(f64(schedule.t_max))
    assert max(denoise.times) <= schedule.t_max
    torch.testing.assert_close(sigma / alpha, (1.125 * sigmas / alphas).clamp(max=top_sigma / top_alpha))


def test_edm_without_churn_is_heun():
    times = time_grid(Karras(), 12, "karras")
    a, b = (walk(name, mixture(Karras()), 80 * noise(), times) for name in ("edm", "heun"))
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one.x, other.x)
        torch.testing.assert_close(one.x0, other.x0)


@pytest.mark.parametrize(
    "schedule", [VP(), Cosine(), Flow(), DDPM(), Sigmoid(), Trig(sigma_data=0.7)], ids=repr
)
@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("edm", {"churn": 5.0}),
        ("dpmpp_2m_sde", {}),
        ("euler_ancestral", {}),
        ("langevin", {}),
        ("gamma", {"gamma": 0.4}),
        ("ddim", {"eta": 0.7}),
    ],
    ids=str,
)
def test_every_schedule_walks_the_same_way(schedule, sampler, options):
    """In x / alpha against sigma / alpha they are one."""
    start = noise() * math.sqrt(10)
    runs = [
        walk(sampler, mixture(kind), kind.levels(times)[0][0] * start, times, randn=reused(), **options)
        for kind, times in ((kind, ratios(kind, 10.0, 0.05, 9)) for kind in (schedule, Karras()))
    ]
    for one, other in zip(*runs, strict=True):
        torch.testing.assert_close(one.x / schedule.alpha_sigma(one.t)[0], other.x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("schedule", [Cosine(), Flow(), Sigmoid()], ids=repr)
def test_from_pure_noise_edm_begins_as_ddim(schedule):
    times, denoise = time_grid(schedule, 6), Guided(mixture(schedule))
    first, *_, last = SAMPLERS["edm"](denoise, noise(), times, churn=50.0)
    torch.testing.assert_close(first.x, walk("ddim", mixture(schedule), noise(), times[:2])[0].x)
    assert last.x.isfinite().all() and denoise.nfe == 1 + 2 * 4 + 1


@schedules
@pytest.mark.parametrize("spacing", ["uniform", "karras"])
def test_dpmpp_2m_sde_without_noise_is_dpmpp_2m(schedule, spacing):
    times = time_grid(schedule, 9, spacing)
    x = noise() * schedule.alpha_sigma(times[0])[1]
    model = mixture(schedule)
    for a, b in zip(
        walk("dpmpp_2m_sde", model, x, times, eta=0.0), walk("dpmpp_2m", model, x, times), strict=True
    ):
        torch.testing.assert_close(a.x, b.x)


@pytest.mark.parametrize("schedule", [VP(), Flow()], ids=repr)
@pytest.mark.parametrize("eta", [0.5, 1.0, 2.0])
def test_dpmpp_2m_sde_is_its_formula(schedule, eta):
    """In y = x / alpha, on log-SNR steps of any length."""
    model, randn, levels = mixture(schedule), reused(), [9.0, 4.0, 1.5, 1.0, 0.3, 0.1]
    times = torch.cat([schedule.time_of(f64(levels)), torch.zeros(1)])
    alphas = schedule.alpha_sigma(times)[0]
    y, before, last_h = levels[0] * noise(), None, 0.0
    for i, (now, to) in enumerate(pairwise(levels)):
        clean, h = model(alphas[i] * y, times[i]).x0, math.log(now / to)
        whole = 1 - math.exp(-(1 + eta) * h)
        mean = to / now * math.exp(-eta * h) * y + whole * clean
        if before is not None:
            mean = mean + 0.5 * whole * (clean - before) * h / last_h
        y, before, last_h = mean + to * math.sqrt(1 - math.exp(-2 * eta * h)) * randn(y), clean, h
    got = walk("dpmpp_2m_sde", model, alphas[0] * levels[0] * noise(), times, eta=eta, randn=reused())
    torch.testing.assert_close(got[-2].x / alphas[-2], y)
    torch.testing.assert_close(got[-1].x, model(alphas[-2] * y, times[-2]).x0)


@schedules
def test_euler_ancestral_goes_down_and_up(schedule):
    """Euler to `down` on the ODE in sigma / alpha, then up; without noise it is ddim, with all of it ddpm."""
    times = ratios(schedule, 9.0, 0.1, 7)
    levels = [*torch.logspace(math.log10(9.0), -1, 7, dtype=torch.float64).tolist(), 0.0]
    alphas = schedule.alpha_sigma(times)[0]
    model, randn, start = mixture(schedule), reused(), 9 * noise()
    y = start
    for i, (now, to) in enumerate(pairwise(levels)):
        up = min(to, 0.6 * math.sqrt(to**2 * (now**2 - to**2) / now**2))
        y = y + (math.sqrt(to**2 - up**2) - now) * (y - model(alphas[i] * y, times[i]).x0) / now
        y = y + up * randn(y) if to else y

    def ours(sampler="euler_ancestral", **options):
        return walk(sampler, model, alphas[0] * start, times, randn=reused(), **options)[-1].x

    torch.testing.assert_close(ours(eta=0.6), y)
    torch.testing.assert_close(ours(eta=0.0), ours("ddim"))
    torch.testing.assert_close(ours(), ours("ddpm"))
    assert ours(eta=5.0).isfinite().all()  # up is at most the level itself


def test_a_negative_eta_is_refused():
    with pytest.raises(FastdiffError, match="dpmpp_2m_sde: eta = -1.0: expected at least 0"):
        walk("dpmpp_2m_sde", mixture(Cosine()), noise(), time_grid(Cosine(), 2), eta=-1.0)


# ---- what all of them keep to


@noisy
@pytest.mark.parametrize("schedule", [Cosine(), DDPM(), Karras()], ids=repr)
def test_a_sample_does_not_depend_on_its_neighbours(name, schedule):
    times = time_grid(schedule, 6, "karras")

    def run(positions):
        rng = SampleRng(4, positions)
        x = rng.normal((2,)).double() * schedule.alpha_sigma(times[0])[1]
        return walk(name, mixture(schedule), x, times, randn=lambda x: rng.normal((2,)).to(x), **NOISY[name])[
            -1
        ].x

    together, alone = run(torch.arange(8)), torch.cat([run(torch.tensor([i])) for i in range(8)])
    torch.testing.assert_close(alone, together, rtol=1e-9, atol=1e-9)


@noisy
@schedules
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_low_precision_ends_finite(name, schedule, dtype):
    for steps, spacing in ((1, "uniform"), (2, "uniform"), (3, "karras"), (20, "uniform")):
        times = time_grid(schedule, steps, spacing)
        x = (noise() * schedule.alpha_sigma(times[0])[1]).to(dtype)
        before, states = x.clone(), walk(name, mixture(schedule), x, times, randn=reused(), **NOISY[name])
        assert all(state.x.dtype == dtype and state.x.isfinite().all() for state in states), (steps, spacing)
        assert torch.equal(x, before) and torch.equal(states[-1].x, states[-1].x0)
