"""Samplers against closed forms, the papers' algebra and diffusers."""

import math
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch

from fastdiff.denoiser import Denoiser
from fastdiff.errors import FastdiffError
from fastdiff.guidance import Guided
from fastdiff.networks import mlp
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.samplers import SAMPLERS, SPACINGS, time_grid
from fastdiff.schedule import DDPM, SCHEDULES, VP, Cosine, Flow, Karras, Trig, like

schedules = pytest.mark.parametrize("schedule", [*(kind() for kind in SCHEDULES.values()), Trig(sigma_data=0.7)], ids=repr)
samplers = pytest.mark.parametrize("sampler", list(SAMPLERS))
NOISY = ("ddpm", "ddim", "consistency")


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
    for steps in (1, 2, 3):
        times = time_grid(schedule, steps, spacing)
        denoise = Guided(mixture(schedule))
        walking = SAMPLERS[sampler](denoise, noise() * schedule.alpha_sigma(times[0])[1], times)
        if sampler in ("euler", "heun") and not schedule.rates(times[0])[0].isfinite():
            with pytest.raises(FastdiffError, match=r"euler and heun: .* infinite at t = 1; use ddim"):
                next(walking)
            continue
        states = list(walking)
        assert [float(state.t) for state in states] == times[1:].tolist() and states[-1].t == 0
        assert all(state.x.isfinite().all() and state.x0.isfinite().all() for state in states)
        assert denoise.nfe == (2 * steps - 1 if sampler == "heun" else steps)


@samplers
def test_the_last_step_lands_on_the_clean_prediction(sampler):
    states = walk(sampler, mixture(Karras()), 80 * noise(), time_grid(Karras(), 5, "karras"))
    torch.testing.assert_close(states[-1].x, states[-1].x0)


@samplers
def test_the_caller_may_stop_early(sampler):
    denoise = Guided(mixture(Cosine()))
    walking = SAMPLERS[sampler](denoise, noise(), time_grid(Cosine(), 10))
    assert denoise.nfe == 0
    next(walking)
    state = next(walking)
    walking.close()
    assert float(state.t) == 0.8 and denoise.nfe == (4 if sampler == "heun" else 2)


@samplers
def test_float32_in_float32_out_and_the_noise_is_left_alone(sampler):
    x = noise().float()
    before = x.clone()
    states = walk(sampler, mixture(Cosine()), x, time_grid(Cosine(), 4))
    assert all(state.x.dtype == state.x0.dtype == torch.float32 for state in states) and torch.equal(x, before)


@samplers
@schedules
def test_states_say_what_was_predicted(sampler, schedule):
    """State.x0 is the prediction at the time before, of a multistep solver too."""
    model, times = mixture(schedule), time_grid(schedule, 6, "karras")
    x = noise() * schedule.alpha_sigma(times[0])[1]
    for t, state in zip(times[:-1], SAMPLERS[sampler](Guided(model), x, times), strict=True):
        torch.testing.assert_close(state.x0, model(x, t).x0)
        x = state.x


# ---- order of convergence


def reference(schedule, x, start, end, steps=400):
    """Runge-Kutta 4 on dx/dt, in log t."""
    model = mixture(schedule)
    slope = lambda x, u: schedule.velocity(*model(x, u.exp()), u.exp()) * u.exp()                   # noqa: E731
    grid = torch.linspace(math.log(start), math.log(end), steps + 1, dtype=torch.float64)
    for u, w in pairwise(grid):
        h, mid = w - u, (u + w) / 2
        a = slope(x, u)
        b = slope(x + h / 2 * a, mid)
        c = slope(x + h / 2 * b, mid)
        x = x + h / 6 * (a + 2 * b + 2 * c + slope(x + h * c, w))
    return x


def slopes(sampler, schedule, x, grids, exact):
    errors = [(walk(sampler, mixture(schedule), x, times)[-1].x - exact).square().mean().sqrt() for times in grids]
    return [math.log2(a / b) for a, b in pairwise(errors)], errors


@pytest.fixture(scope="module")
def exact_karras():
    return reference(Karras(), 80 * noise(), 80.0, 0.002)


@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("ddim", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_order_of_convergence(sampler, order, exact_karras):
    grids = [time_grid(Karras(), steps, "karras")[:-1] for steps in (65, 129)]
    found, errors = slopes(sampler, Karras(), 80 * noise(), grids, exact_karras)
    assert order - 0.15 <= found[-1] <= order + 0.5, (found, errors)
    assert errors[-1] < (2e-2 if order == 1 else 1e-3)


@pytest.mark.parametrize("schedule", [VP(), Cosine(), Flow(), Trig(sigma_data=0.7)], ids=repr)
@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("ddim", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_order_of_convergence_in_the_schedules_own_time(sampler, order, schedule):
    start, end = 0.9 * schedule.t_max, 0.1 * schedule.t_max
    x = noise() * schedule.alpha_sigma(f64(start))[1]
    grids = [torch.linspace(start, end, steps + 1, dtype=torch.float64) for steps in (40, 80)]
    found, errors = slopes(sampler, schedule, x, grids, reference(schedule, x, start, end, 100))
    assert order - 0.15 <= found[-1] <= order + 0.5, (found, errors)


def test_heun_keeps_its_order_into_the_data():
    """From pure noise to t = 0, where the last step is Euler's."""
    runs = [walk("heun", mixture(Flow()), noise(), time_grid(Flow(), steps))[-1].x for steps in (32, 64, 128, 256)]
    gaps = [(a - b).square().mean().sqrt() for a, b in pairwise(runs)]
    assert math.log2(gaps[-2] / gaps[-1]) > 1.85


def test_the_ode_of_a_gaussian_is_a_straight_rescaling():
    mean, std, schedule = 0.6, 0.4, Cosine()
    x = noise(dims=1)
    exact = mean + std * x                                                  # alpha = 0, sigma = 1 at the start
    for sampler, tolerance in (("euler", 2e-2), ("ddim", 2e-2), ("heun", 1e-3), ("dpmpp_2m", 2e-3)):
        got = walk(sampler, gaussian(std, schedule, mean), x, time_grid(schedule, 200))[-1].x
        assert (got - exact).abs().max() < tolerance, sampler


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
    source = torch.eye(n, dtype=torch.float64)[:, :, None]                   # source[k]: 1 for sample k alone
    draws = lambda x: source[next(count)]                                    # noqa: E731
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
@pytest.mark.parametrize(("sampler", "options"), [("ddpm", {"variance": "small"}), ("ddpm", {"variance": "large"}),
                                                  ("ddim", {"eta": 0.0}), ("ddim", {"eta": 0.5}), ("ddim", {"eta": 1.0})])
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
    with pytest.raises(FastdiffError, match="variance = 'medium', expected small or large"):
        walk("ddpm", mixture(Cosine()), noise(), time_grid(Cosine(), 2), variance="medium")


# ---- the papers


def test_heun_is_algorithm_1_of_karras():
    model, n = mixture(Karras()), 18
    ramp = [(80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(n)] + [0.0]
    x = 80 * noise()
    clean = lambda x, level: model(x, f64([level] * len(x))).x0                                      # noqa: E731
    for now, to in pairwise(ramp):
        slope = (x - clean(x, now)) / now
        ahead = x + (to - now) * slope
        if to > 0:
            ahead = x + (to - now) / 2 * (slope + (ahead - clean(ahead, to)) / to)
        x = ahead
    torch.testing.assert_close(walk("heun", model, 80 * noise(), time_grid(Karras(), n, "karras"))[-1].x, x)


@pytest.mark.parametrize("schedule", [VP(), Karras(), Flow()], ids=repr)
def test_dpmpp_2m_is_algorithm_2_of_lu(schedule):
    model, times = mixture(schedule), time_grid(schedule, 12, "karras")
    x = start = noise() * schedule.alpha_sigma(times[0])[1]
    half_log_snr = lambda t: math.log(schedule.alpha_sigma(t)[0] / schedule.alpha_sigma(t)[1])      # noqa: E731
    before = None
    for i, (t, s) in enumerate(pairwise(times)):
        clean = model(x, t).x0
        if s == 0:
            x = clean
            break
        h, mix = half_log_snr(s) - half_log_snr(t), clean
        if i:
            r = (half_log_snr(t) - half_log_snr(times[i - 1])) / h
            mix = (1 + 1 / (2 * r)) * clean - 1 / (2 * r) * before
        (_, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
        x = sigma_s / sigma_t * x - alpha_s * math.expm1(-h) * mix
        before = clean
    torch.testing.assert_close(walk("dpmpp_2m", model, start, times)[-1].x, x)


@pytest.mark.parametrize("schedule", [Flow(), Karras()], ids=repr)
def test_euler_is_ddim_on_straight_paths(schedule):
    times = time_grid(schedule, 7)
    x = noise() * schedule.alpha_sigma(times[0])[1]
    for a, b in zip(*(walk(name, mixture(schedule), x, times) for name in ("euler", "ddim")), strict=True):
        torch.testing.assert_close(a.x, b.x)


# ---- diffusers, on the same noise and network

NAMES = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = mlp((3,), width=16, depth=1).double()
    torch.nn.init.normal_(net.last.weight, std=0.2)
    return net.requires_grad_(False)


def exact(scheduler):
    """diffusers' scheduler with its float32 table in float64."""
    scheduler.betas = torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = scheduler.alphas.cumprod(0)
    return scheduler


def theirs(scheduler, net, x, steps, **options):
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        x = scheduler.step(net(x, t.double().expand(len(x))), t, x, **options).prev_sample
    return x


@pytest.mark.parametrize("predicts", list(NAMES))
@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("steps", [10, 50])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_is_diffusers(net, predicts, spacing, steps, eta):
    from diffusers import DDIMScheduler

    scheduler = exact(DDIMScheduler(timestep_spacing=spacing, clip_sample=False, prediction_type=NAMES[predicts]))
    wanted = theirs(scheduler, net, noise(dims=3), steps, eta=eta, generator=torch.Generator().manual_seed(5))
    model, times = Denoiser(net, DDPM(), predicts), time_grid(DDPM(), steps, spacing)
    got = walk("ddim", model, noise(dims=3), times, eta=eta, randn=reused())
    torch.testing.assert_close(got[-1].x, wanted, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("predicts", "variance", "steps"), [
    ("eps", "small", 50), ("v", "small", 50), ("x0", "small", 50), ("eps", "small", 1000), ("v", "large", 1000)])
def test_ddpm_is_diffusers(net, predicts, variance, steps):
    """(Their large variance adds noise to the finished sample unless the last step is from timestep 0.)"""
    from diffusers import DDPMScheduler

    scheduler = exact(DDPMScheduler(timestep_spacing="trailing", variance_type=f"fixed_{variance}", clip_sample=False,
                                    prediction_type=NAMES[predicts]))
    wanted = theirs(scheduler, net, noise(dims=3), steps, generator=torch.Generator().manual_seed(5))
    model = Denoiser(net, DDPM(), predicts)
    got = walk("ddpm", model, noise(dims=3), time_grid(DDPM(), steps), variance=variance, randn=reused())
    torch.testing.assert_close(got[-1].x, wanted, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("steps", [2, 10, 25])
@pytest.mark.parametrize("predicts", list(NAMES))
def test_dpmpp_2m_is_diffusers(net, predicts, steps):
    from diffusers import DPMSolverMultistepScheduler

    scheduler = exact(DPMSolverMultistepScheduler(timestep_spacing="trailing", final_sigmas_type="zero",
                                                  prediction_type=NAMES[predicts]))
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps.double() + 1
    alpha, sigma = DDPM().alpha_sigma(times)
    scheduler.sigmas = torch.cat([sigma / alpha, torch.zeros(1)])
    x = noise(dims=3)
    for t in scheduler.timesteps:
        x = scheduler.step(net(x, t.double().expand(len(x))), t, x).prev_sample
    got = walk("dpmpp_2m", Denoiser(net, DDPM(), predicts), noise(dims=3), torch.cat([times, torch.zeros(1)]))
    torch.testing.assert_close(got[-1].x, x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [3, 20])
def test_heun_is_diffusers(net, steps):
    """Their Heun lives in x / alpha against sigma / alpha: our karras schedule with the same network inside."""
    from diffusers import HeunDiscreteScheduler

    scheduler = exact(HeunDiscreteScheduler(beta_start=1e-4, beta_end=2e-2, timestep_spacing="trailing"))
    scheduler.set_timesteps(steps)
    ratios = scheduler.sigmas[[0, *range(1, 2 * steps, 2)]].double()         # each but the first and last comes twice
    x = noise(dims=3) * ratios[0]

    class Scaled(torch.nn.Module):
        def forward(self, y, sigma, s=None, cond=None):
            return net(y * like((sigma**2 + 1).rsqrt(), y), DDPM().time_of(sigma) - 1)

    states = walk("heun", Denoiser(Scaled(), Karras(), "eps", time_input="time"), x, ratios)
    for t in scheduler.timesteps:
        timestep = DDPM().time_of(scheduler.sigmas[scheduler.step_index or 0].double()) - 1
        x = scheduler.step(net(scheduler.scale_model_input(x, t), timestep.expand(len(x))), t, x).prev_sample
    torch.testing.assert_close(states[-1].x, x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_consistency_is_diffusers(net, steps):
    """EDM coordinates: a student of ours runs under the stock consistency scheduler."""
    from diffusers import CMStochasticIterativeScheduler

    scheduler = CMStochasticIterativeScheduler(sigma_min=0.0, sigma_max=80.0, sigma_data=0.5, clip_denoised=False)
    scheduler.set_timesteps(steps)
    model = Denoiser(net, Karras(), "edm", time_input="cm", sigma_data=0.5, scale_input=True)
    ratios = scheduler.sigmas.double()
    x = start = 80 * noise(dims=3)
    generator = torch.Generator().manual_seed(5)
    for t in scheduler.timesteps:
        output = net(scheduler.scale_model_input(x, t), t.double().expand(len(x)))
        x = scheduler.step(output, t, x, generator=generator).prev_sample
    got = walk("consistency", model, start, ratios, randn=reused())
    torch.testing.assert_close(got[-1].x, x, rtol=1e-4, atol=1e-4)
