"""Langevin samplers: score_sde's two forms, Song and Ermon's algorithm,
and what their steps do to a Gaussian."""

import math

import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.core.schedule import DDPM, SCHEDULES, VP, Cosine, Flow, Karras, Sigmoid
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.samplers import SAMPLERS, time_grid
from tests.helpers.tensors import f64
from tests.helpers.walks import mixture, noise, reused, walk

schedules = pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()], ids=repr)


BETAS = torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)


def gaussian(std, schedule, dims=1):
    return GaussianMixture(torch.zeros(1, dims, dtype=torch.float64), f64([std]), f64([1.0]), schedule)


def score(model, x, t):
    return -model(x, t).eps / model.schedule.alpha_sigma(t)[1]


def corrector(model, x, t, a, z, snr):
    """score_sde's LangevinCorrector, but for the norms, which it averages over the batch."""
    grad = score(model, x, t)
    e = 2 * a * (snr * z.norm(dim=1, keepdim=True) / grad.norm(dim=1, keepdim=True)) ** 2
    return x + e * grad + (2 * e).sqrt() * z


# ---- predictor and corrector


@pytest.mark.parametrize("corrections", [0, 1, 2])
def test_the_variance_exploding_form(corrections):
    """score_sde, VE: G^2 = sigma_i^2 - sigma_{i-1}^2, and a corrector whose alpha is 1."""
    model, randn, levels = mixture(Karras()), reused(), f64([9.0, 4.0, 2.0, 0.7, 0.2, 0.0])
    x = 9 * noise()
    for i, (now, to) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        gain = now**2 - to**2
        x = x + gain * score(model, x, now)
        if to > 0:
            x = x + gain.sqrt() * randn(x)
            for _ in range(corrections):
                x = corrector(model, x, to, 1.0, randn(x), 0.2)
        states = walk(
            "predictor_corrector",
            model,
            9 * noise(),
            levels[: i + 2],
            corrections=corrections,
            snr=0.2,
            randn=reused(),
        )
        if corrections == 0 or to == 0:  # a grid's last level is not corrected
            torch.testing.assert_close(states[-1].x, x)


def test_the_variance_preserving_form():
    """score_sde, VP: (2 - sqrt(1 - beta)) x + beta score + sqrt(beta) z;
    the corrector's alpha is the level's 1 - beta."""
    model, randn, x = mixture(DDPM()), reused(), noise()
    times = torch.arange(700, 690, -1, dtype=torch.float64)
    for t, s in zip(times[:-1], times[1:], strict=True):
        beta = BETAS[int(t) - 1]
        x = (2 - (1 - beta).sqrt()) * x + beta * score(model, x, t) + beta.sqrt() * randn(x)
        if s > times[-1]:
            x = corrector(model, x, s, 1 - BETAS[int(s) - 1], randn(x), 0.16)
    torch.testing.assert_close(walk("predictor_corrector", model, noise(), times, randn=reused())[-1].x, x)


def test_one_sample_is_diffusers():
    """Of one sample the batch's mean norm, which their corrector takes, is its own.
    Their pipeline also corrects x_T."""
    from diffusers import ScoreSdeVeScheduler

    model = mixture(Karras())
    scheduler = ScoreSdeVeScheduler(num_train_timesteps=20, snr=0.16, sigma_min=0.01, sigma_max=50.0)
    scheduler.set_timesteps(20)
    scheduler.set_sigmas(20)
    generator, x = torch.Generator().manual_seed(5), 50 * noise(1).float()
    sigmas = scheduler.discrete_sigmas.flip(0).double()
    for i, t in enumerate(scheduler.timesteps):
        if i:
            x = scheduler.step_correct(score(model, x, sigmas[i]), x, generator=generator).prev_sample
        step = scheduler.step_pred(score(model, x, sigmas[i]), t, x, generator=generator)
        x = step.prev_sample
    times = torch.cat([sigmas, torch.zeros(1)])
    got = walk("predictor_corrector", model, 50 * noise(1).float(), times, randn=reused())
    torch.testing.assert_close(got[-1].x, step.prev_sample_mean.float(), rtol=1e-4, atol=1e-4)


def test_the_corrector_widens_by_its_step_and_its_norms():
    """Many corrections at one level: |x|^2 settles at about 1 + snr^2 + 4 / d of what it should be."""
    schedule, dims, snr = Karras(), 100, 0.2
    model = gaussian(0.5, schedule, dims)
    times = f64([1.0, 0.9999, 0.9998])
    x = math.sqrt(1.25) * noise(300, dims)
    got = walk("predictor_corrector", model, x, times, corrections=150, snr=snr, randn=reused())
    ratio = float(got[0].x.square().mean() / (0.25 + 0.9999**2))
    assert ratio == pytest.approx(1 + snr**2 + 4 / dims, abs=0.02)


# ---- annealed


def test_langevin_is_algorithm_1_of_song_and_ermon():
    """alpha_i = epsilon sigma_i^2 / sigma_L^2, steps of alpha_i / 2;
    then the clean prediction of the last level."""
    model, randn, levels, snr = mixture(Karras()), reused(), [3.0, 1.7, 1.0, 0.5, 0.3], 0.16
    epsilon = 4 * snr**2 * levels[-1] ** 2
    x = 3 * noise()
    for level in levels:
        step = epsilon * level**2 / levels[-1] ** 2
        for _ in range(4):
            x = x + step / 2 * score(model, x, f64(level)) + math.sqrt(step) * randn(x)
    states = walk("langevin", model, 3 * noise(), f64([*levels, 0.0]), corrections=4, snr=snr, randn=reused())
    torch.testing.assert_close(states[-1].x, model(x, f64(levels[-1])).x0)
    torch.testing.assert_close(states[-2].t, f64(0.3))


@schedules
def test_one_level_settles_at_its_own_variance(schedule):
    """N(0, std^2): steps of e leave the variance of the level over 1 - e / 2,
    with e in units of that variance."""
    std, snr, t = 0.5, 0.3, schedule.time_of(f64(0.8))
    alpha, sigma = schedule.alpha_sigma(t)
    variance = (alpha * std) ** 2 + sigma**2
    n = 202
    source, count = torch.eye(n, dtype=torch.float64)[:, :, None], iter(range(1, n))
    states = walk(
        "langevin",
        gaussian(std, schedule),
        5 * source[0],
        torch.stack([t, 0.9 * t]),
        corrections=200,
        snr=snr,
        randn=lambda x: source[next(count)],
    )
    settled = (
        states[0].x.square().sum() * (alpha / schedule.alpha_sigma(0.9 * t)[0]) ** 2
    )  # x / alpha is kept
    torch.testing.assert_close(settled, variance / (1 - snr**2 * sigma**2 / variance))


@pytest.mark.parametrize("schedule", [Cosine(), Flow(), Sigmoid()], ids=repr)
def test_from_pure_noise_the_second_level_starts_as_noise(schedule):
    times = time_grid(schedule, 5)
    first = next(
        iter(SAMPLERS["langevin"](Guided(gaussian(0.5, schedule, 2)), noise(20_000), times, randn=reused()))
    )
    torch.testing.assert_close(
        first.x.square().mean(), schedule.alpha_sigma(times[1])[1] ** 2, rtol=0.03, atol=0
    )


# ---- both


@pytest.mark.parametrize("schedule", [Cosine(), VP()], ids=repr)
@pytest.mark.parametrize(
    ("sampler", "corrections", "nfe"),
    [
        ("predictor_corrector", 0, 6),
        ("predictor_corrector", 1, 11),
        ("predictor_corrector", 3, 21),
        ("langevin", 1, 7),
        ("langevin", 5, 31),
    ],
)
def test_evaluations_are_counted_and_the_last_is_clean(schedule, sampler, corrections, nfe):
    times, denoise = time_grid(schedule, 6), Guided(mixture(schedule))
    *_, last = SAMPLERS[sampler](denoise, noise(), times, corrections=corrections)
    assert denoise.nfe == nfe and torch.equal(last.x, last.x0)


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("langevin", {"corrections": 0}),
        ("predictor_corrector", {"corrections": -1}),
        ("langevin", {"snr": 0.0}),
        ("predictor_corrector", {"snr": 1.5}),
        ("langevin", {"snr": math.nan}),
    ],
)
def test_steps_that_go_nowhere_are_refused(sampler, options):
    with pytest.raises(
        FastdiffError, match=rf"sampler {sampler}: snr = .*, corrections = .*: expected snr between 0 and 1"
    ):
        walk(sampler, mixture(Cosine()), noise(), time_grid(Cosine(), 2), **options)


@pytest.mark.parametrize("steps", [2, 4, 20])
def test_the_predictor_keeps_nothing_of_pure_noise(steps):
    """Of alpha = 0 nothing of x is kept: what is predicted of N(0, 1), its mean,
    and noise of the next level."""
    n = 20000
    model = GaussianMixture(
        torch.zeros(1, 1, dtype=torch.float64),
        torch.ones(1, dtype=torch.float64),
        torch.ones(1, dtype=torch.float64),
        Cosine(),
    )
    generator = torch.Generator().manual_seed(0)
    draw = lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)  # noqa: E731
    x = draw(torch.empty(n, 1, dtype=torch.float64))
    first = next(
        SAMPLERS["predictor_corrector"](
            Guided(model), x, time_grid(Cosine(), steps), corrections=0, randn=draw
        )
    )
    sigma = float(Cosine().alpha_sigma(first.t)[1])
    assert abs(float(first.x.std()) - sigma) < 3 * sigma / n**0.5
