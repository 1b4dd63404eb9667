"""Samplers: what all of them keep to, their orders of convergence, and the moments of the stochastic ones."""

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import pytest
import torch

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.core.schedule import DDPM, SCHEDULES, VP, Cosine, Flow, Karras, Trig
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.samplers import SAMPLERS, SPACINGS, time_grid

schedules = pytest.mark.parametrize(
    "schedule", [*(kind() for kind in SCHEDULES.values()), Trig(sigma_data=0.7)], ids=repr
)
samplers = pytest.mark.parametrize("sampler", list(SAMPLERS))
ADAPTIVE = [name for name, f in SAMPLERS.items() if f.traits.adaptive]
RATES = ("euler", "heun")  # in the schedule's own time: where its rates are infinite they refuse


def f64(x):
    return torch.tensor(x, dtype=torch.float64)


def gaussian(std, schedule, mean=0.0):
    return GaussianMixture(f64([[mean]]), f64([std]), f64([1.0]), schedule)


def mixture(schedule):
    means = f64([[-1.0, 0.2], [0.8, 1.0], [0.5, -1.2]])
    return GaussianMixture(means, f64([0.3, 0.2, 0.4]), f64([1.0, 2.0, 1.0]), schedule)


def noise(n=32, dims=2, seed=1):
    return torch.randn(n, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reused(seed=5):
    """The same sequence of draws each time it is made."""
    generator = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)


def walk(sampler, model, x, times, **options):
    return list(SAMPLERS[sampler](Guided(model), x, times, **options))


# ---- what every sampler keeps to


@samplers
@pytest.mark.parametrize("spacing", list(SPACINGS))
@schedules
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


# ---- order of convergence


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


def slopes(sampler, schedule, x, grids, exact, **options):
    ends = [walk(sampler, mixture(schedule), x, times, **options)[-1].x for times in grids]
    errors = [(end - exact).square().mean().sqrt() for end in ends]
    return [math.log2(a / b) for a, b in pairwise(errors)], errors


ORDERS = [
    ("euler", {}, 1),
    ("ddim", {}, 1),
    ("heun", {}, 2),
    ("dpmpp_2m", {}, 2),
    ("dpmpp_3m", {}, 3),
    ("dpmpp_3m", {"compat": True}, 2),
    ("unipc", {"order": 1}, 2),
    ("unipc", {}, 3),
    ("unipc", {"solver": "bh1"}, 3),
    ("ipndm", {}, 2),
    ("deis", {"order": 1}, 1),
    ("deis", {"order": 2}, 2),
    ("deis", {}, 3),
    ("dpm_solver", {}, 2),
    ("dpm_solver", {"order": 3}, 3),
]


@pytest.mark.parametrize(("sampler", "options", "order"), ORDERS)
def test_order_of_convergence(sampler, options, order):
    """Of the third order's public form too, which is second; and ipndm's, whose weights are an even grid's."""
    grids = [time_grid(Karras(), steps, "karras")[:-1] for steps in (257, 513)]
    found, errors = slopes(
        sampler, Karras(), 80 * noise(), grids, reference(Karras(), 80.0, 0.002, 1500), **options
    )
    assert order - 0.15 <= found[-1] <= order + 0.5, (found, errors)
    assert errors[-1] < {1: 2e-2, 2: 1e-3, 3: 2e-5}[order]


def test_the_third_order_of_unipc_is_its_fourth():
    grids = [time_grid(Karras(), steps, "karras")[:-1] for steps in (257, 513)]
    found, errors = slopes(
        "unipc", Karras(), 80 * noise(), grids, reference(Karras(), 80.0, 0.002, 1500), order=3
    )
    assert found[-1] > 3.7 and errors[-1] < 1e-7


@pytest.mark.parametrize("schedule", [VP(), Cosine(), Flow(), Trig(sigma_data=0.7)], ids=repr)
@pytest.mark.parametrize(
    ("sampler", "options", "order"), [row for row in ORDERS if row[2] < 3 or "dpm_solver" in row]
)
def test_order_of_convergence_in_the_schedules_own_time(sampler, options, order, schedule):
    """(From a moderate ratio, where the first-order start of a multistep solver holds it at second.)"""
    start, end = 0.9 * schedule.t_max, 0.1 * schedule.t_max
    x = noise() * schedule.alpha_sigma(f64(start))[1]
    grids = [torch.linspace(start, end, steps + 1, dtype=torch.float64) for steps in (40, 80)]
    found, errors = slopes(sampler, schedule, x, grids, reference(schedule, start, end, 100), **options)
    assert found[-1] >= order - 0.15, (found, errors)


def test_heun_keeps_its_order_into_the_data():
    """From pure noise to t = 0, where the last step is Euler's."""
    runs = [
        walk("heun", mixture(Flow()), noise(), time_grid(Flow(), steps))[-1].x for steps in (32, 64, 128, 256)
    ]
    gaps = [(a - b).square().mean().sqrt() for a, b in pairwise(runs)]
    assert math.log2(gaps[-2] / gaps[-1]) > 1.85


@schedules
@pytest.mark.parametrize(
    "sampler",
    [name for name, f in SAMPLERS.items() if f.traits.noise == "none" and name not in (*RATES, *ADAPTIVE)],
)
def test_the_ode_of_a_gaussian_is_a_straight_rescaling(sampler, schedule):
    mean, std = 0.6, 0.4
    times = time_grid(schedule, 100, "karras")
    alpha, sigma = schedule.alpha_sigma(times[0])
    x = sigma * noise(dims=1)
    exact = mean + std * (x - alpha * mean) / torch.hypot(alpha * std, sigma)
    got = walk(sampler, gaussian(std, schedule, mean), x, times)[-1].x
    assert (got - exact).abs().max() < 5e-3


# ---- stochastic samplers


@schedules
@pytest.mark.parametrize("spacing", ["uniform", "karras", "trailing"])
def test_ddim_at_eta_1_is_ddpm(schedule, spacing):
    times = time_grid(schedule, 9, spacing)
    x = noise() * schedule.alpha_sigma(times[0])[1]
    a = walk("ddim", mixture(schedule), x, times, eta=1.0, randn=reused())
    b = walk("ddpm", mixture(schedule), x, times, randn=reused())
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one.x, other.x, rtol=1e-9, atol=1e-9)


@dataclass(frozen=True)
class Uneven(Flow):
    """A schedule whose quotients do not round back to where they came from."""

    scale: float = 1.0

    def alpha_sigma(self, t):
        return 1 - t, t.sqrt() + self.scale * t


def test_full_noise_from_pure_noise_is_finite():
    """All of the next state's noise is fresh there: rounding must not push what remains below zero."""
    for i in range(300):
        schedule = Uneven(scale=1 + i / 97)
        first = walk("ddim", mixture(schedule), noise(4), time_grid(schedule, 3)[:2], eta=1.0)
        assert first[-1].x.isfinite().all()


def variances(sampler, model, start, times, **options):
    """Of every state, exactly: samplers are linear on a centred Gaussian, so each source of noise is sent through alone."""
    n, count = len(times) + 1, iter(range(1, len(times) + 1))
    source = torch.eye(n, dtype=torch.float64)[:, :, None]  # source[k]: 1 for sample k alone
    draws = lambda x: source[next(count)]  # noqa: E731
    states = walk(sampler, model, start * source[0], times, randn=draws, **options)
    return f64([float(state.x.square().sum()) for state in states])


@pytest.mark.parametrize("schedule", [DDPM(), Cosine(), VP()], ids=repr)
@pytest.mark.parametrize("steps", [2, 5, 50])
def test_large_variance_is_exact_on_unit_data(schedule, steps):
    got = variances("ddpm", gaussian(1.0, schedule), 1.0, time_grid(schedule, steps), variance="large")
    torch.testing.assert_close(got[:-1], torch.ones(steps - 1, dtype=torch.float64))


@schedules
@pytest.mark.parametrize("steps", [2, 5, 50])
def test_small_variance_is_exact_on_one_point(schedule, steps):
    times = time_grid(schedule, steps)
    sigma = schedule.alpha_sigma(times)[1]
    for sampler, options in (("ddpm", {"variance": "small"}), ("ddim", {"eta": 1.0}), ("ddim", {"eta": 0.3})):
        got = variances(sampler, gaussian(0.0, schedule), sigma[0], times, **options)
        torch.testing.assert_close(got, sigma[1:] ** 2)


@schedules
@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("ddpm", {"variance": "small"}),
        ("ddpm", {"variance": "large"}),
        ("ddim", {"eta": 0.0}),
        ("ddim", {"eta": 0.5}),
        ("ddim", {"eta": 1.0}),
    ],
)
def test_many_steps_keep_the_variance_of_the_data(schedule, sampler, options):
    times = time_grid(schedule, 400, "karras")
    start = (schedule.alpha_sigma(times[0])[0] * 0.5) ** 2 + schedule.alpha_sigma(times[0])[1] ** 2
    got = variances(sampler, gaussian(0.5, schedule), start.sqrt(), times, **options)
    alpha, sigma = schedule.alpha_sigma(times[1:])
    torch.testing.assert_close(got, (alpha * 0.5) ** 2 + sigma**2, rtol=0.05, atol=0)


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


def test_an_unknown_variance_is_refused():
    with pytest.raises(FastdiffError, match="variance = 'medium', expected small, large"):
        walk("ddpm", mixture(Cosine()), noise(), time_grid(Cosine(), 2), variance="medium")
