"""Multistep and single-step solvers on polynomials of their own variable, where the answer is an integral."""

import weakref
from itertools import pairwise

import numpy as np
import pytest
import torch

from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.core.prediction import Prediction
from fastdiff.core.schedule import SCHEDULES, VP, Cosine, Flow, Karras
from fastdiff.samplers import SAMPLERS, time_grid
from tests.helpers.tensors import f64
from tests.helpers.walks import mixture, noise, walk

MULTISTEP = [
    ("dpmpp_2m", {}),
    ("dpmpp_3m", {}),
    ("dpmpp_3m", {"compat": True}),
    ("unipc", {"order": 1}),
    ("unipc", {}),
    ("unipc", {"solver": "bh1"}),
    ("unipc", {"order": 3}),
    ("ipndm", {}),
    ("deis", {}),
]


GRID = f64([0.9, 0.82, 0.76, 0.63, 0.55, 0.5, 0.38, 0.31])  # uneven, of VP and Flow


schedules = pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()], ids=repr)


class Given:
    """A model whose x0, or eps, is a function of time alone."""

    def __init__(self, schedule, kind, value):
        self.schedule, self.kind, self.value = schedule, kind, value

    def __call__(self, x, t, s):
        (alpha, sigma), value = map(float, self.schedule.alpha_sigma(t)), torch.full_like(x, self.value(t))
        if self.kind == "x0":
            return Prediction(x, value, (x - alpha * value) / sigma)
        return Prediction(x, (x - sigma * value) / alpha, value)


def log_snr(schedule, t):
    alpha, sigma = map(float, schedule.alpha_sigma(t))
    return np.log(alpha / sigma)


def step(schedule, kind, f, x, t, s):
    """The exact step of dx/dt where x0, or eps, is f(lambda): 60 nodes of Gauss and Legendre."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (map(float, schedule.alpha_sigma(time)) for time in (t, s))
    at, weight = np.polynomial.legendre.leggauss(60)
    here, there = log_snr(schedule, t), log_snr(schedule, s)
    at, weight = (here + there) / 2 + (there - here) / 2 * at, (there - here) / 2 * weight
    if kind == "x0":
        return sigma_s / sigma_t * x + sigma_s * float((weight * np.exp(at) * f(at)).sum())
    return alpha_s / alpha_t * x - alpha_s * float((weight * np.exp(-at) * f(at)).sum())


def defects(sampler, kind, degree, schedule=None, times=GRID, **options):
    """How far each step of a solver is from the exact one, started where the solver stands."""
    schedule = schedule or VP()
    f = lambda u: (0.7 * u - 0.4) ** degree  # noqa: E731
    x, found = noise(4), []
    states = SAMPLERS[sampler](Given(schedule, kind, lambda t: f(log_snr(schedule, t))), x, times, **options)
    for (t, s), state in zip(pairwise(times), states, strict=True):
        found.append(float((state.x - step(schedule, kind, f, x, t, s)).abs().max()))
        x = state.x
    return found


@pytest.mark.parametrize("schedule", [VP(), Flow(), Cosine()], ids=repr)
@pytest.mark.parametrize(
    ("sampler", "options", "kind", "order"),
    [
        ("dpmpp_2m", {}, "x0", 1),
        ("dpmpp_3m", {}, "x0", 3),
        ("unipc", {"order": 3}, "x0", 3),
        ("deis", {"order": 1}, "eps", 1),
        ("deis", {"order": 2}, "eps", 2),
        ("deis", {}, "eps", 3),
    ],
)
def test_a_polynomial_below_the_order_is_integrated_exactly(sampler, options, kind, order, schedule):
    """Once there is history; and one of the order's degree is not. (dpmpp_2m is the midpoint form,
    exact on constants.)"""
    for degree in range(order):
        assert max(defects(sampler, kind, degree, schedule, **options)[order + 1 :]) < 1e-12
    assert min(defects(sampler, kind, order, schedule, **options)[order + 1 :]) > 1e-6


@pytest.mark.parametrize("order", [2, 3])
def test_a_single_step_is_exact_on_a_polynomial_below_its_order(order):
    for degree in range(order):
        assert max(defects("dpm_solver", "eps", degree, order=order)) < 1e-12
    assert min(defects("dpm_solver", "eps", order, order=order)) > 1e-7


def test_the_public_third_order_is_not_exact_on_a_parabola():
    assert max(defects("dpmpp_3m", "x0", 1, compat=True)[3:]) < 1e-12
    assert min(defects("dpmpp_3m", "x0", 2, compat=True)[3:]) > 1e-5


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_ipndm_is_exact_on_a_polynomial_of_sigma_on_an_even_grid(order):
    times, f = (
        torch.linspace(5.0, 1.0, 9, dtype=torch.float64),
        np.polynomial.Polynomial([0.3, -1.0, 0.5, 0.25][:order]),
    )
    denoise = Given(Karras(), "eps", lambda t: f(float(t)))
    states = [noise(4), *(state.x for state in SAMPLERS["ipndm"](denoise, noise(4), times, order=order))]
    for i, (t, s) in list(enumerate(pairwise(times.tolist())))[order - 1 :]:
        torch.testing.assert_close(
            states[i + 1] - states[i], torch.full_like(noise(4), f.integ()(s) - f.integ()(t))
        )


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_the_corrector_of_unipc_is_exact_one_degree_higher(degree):
    """Its predicted states are the midpoint form's, each from a corrected one,
    which is found again from the prediction."""
    schedule, f = VP(), lambda u: (0.7 * u - 0.4) ** degree
    lam = [log_snr(schedule, t) for t in GRID]
    denoise = Given(schedule, "x0", lambda t: f(log_snr(schedule, t)))
    states = [state.x for state in SAMPLERS["unipc"](denoise, noise(4), GRID)]
    corrected = []
    for i in range(2, len(GRID) - 1):
        (_, sigma_t), (alpha_s, sigma_s) = schedule.levels(GRID)[i : i + 2]
        h, before = lam[i + 1] - lam[i], lam[i] - lam[i - 1]
        middle = f(lam[i]) + h / (2 * before) * (f(lam[i]) - f(lam[i - 1]))
        corrected.append((states[i] + alpha_s * np.expm1(-h) * middle) * sigma_t / sigma_s)
    for i, (here, there) in enumerate(pairwise(corrected), 2):
        exact = step(schedule, "x0", f, here, GRID[i], GRID[i + 1])
        torch.testing.assert_close(there, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("sampler", "options"), [("deis", {"order": 1}), ("ipndm", {"order": 1})])
@schedules
def test_first_order_is_ddim(sampler, options, schedule):
    times = time_grid(schedule, 7, "karras")
    x = noise() * schedule.alpha_sigma(times[0])[1]
    for a, b in zip(
        walk(sampler, mixture(schedule), x, times, **options), walk("ddim", mixture(schedule), x, times)
    ):
        torch.testing.assert_close(a.x, b.x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("sampler", "options"), [*MULTISTEP, ("dpm_solver", {})])
@schedules
def test_pure_noise_and_data_are_first_order(sampler, options, schedule):
    """Two steps are DDIM's both; from alpha = 0, whose log-SNR is infinite, so is the second of three."""
    times = time_grid(schedule, 3)
    x, singular = noise() * schedule.alpha_sigma(times[0])[1], schedule.alpha_sigma(times[0])[0] == 0
    for grid, same in (
        (times[[0, 3]], 1),
        (times, 1 if singular else 0),
        (times[[0, 1, 3]], 2 if singular else 0),
    ):
        ours, ddim = (
            walk(name, mixture(schedule), x, grid, **how) for name, how in ((sampler, options), ("ddim", {}))
        )
        for a, b in list(zip(ours, ddim))[:same]:
            torch.testing.assert_close(a.x, b.x, rtol=1e-9, atol=1e-9)
        assert torch.equal(ours[-1].x, ours[-1].x0)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "dpmpp_3m", "ipndm", "deis"])
def test_what_was_predicted_of_pure_noise_is_not_used_again(sampler):
    """A walk from alpha = 0 goes on as one that starts after its first step."""
    times = time_grid(Flow(), 6)
    whole = walk(sampler, mixture(Flow()), noise(), times)
    for a, b in zip(whole[1:], walk(sampler, mixture(Flow()), whole[0].x, times[1:]), strict=True):
        torch.testing.assert_close(a.x, b.x)


@pytest.mark.parametrize("order", [2, 3])
@schedules
def test_a_single_step_costs_its_order(order, schedule):
    times = time_grid(schedule, 5)
    denoise, seen = Guided(mixture(schedule)), []
    for _ in SAMPLERS["dpm_solver"](denoise, noise() * schedule.alpha_sigma(times[0])[1], times, order=order):
        seen.append(denoise.nfe)
    first = 1 if schedule.alpha_sigma(times[0])[0] == 0 else order
    assert seen == [first, *(first + order * i for i in (1, 2, 3)), first + 3 * order + 1]


@pytest.mark.parametrize(
    ("sampler", "options", "kept"),
    [
        ("dpmpp_2m", {}, 1),
        ("dpmpp_3m", {}, 2),
        ("unipc", {"order": 2}, 2),
        ("unipc", {"order": 3}, 3),
        ("ipndm", {"order": 1}, 0),
        ("ipndm", {}, 3),
        ("deis", {}, 2),
    ],
)
def test_history_is_let_go(sampler, options, kept):
    model, made, alive = mixture(VP()), [], []

    class Watched(Guided):
        def __call__(self, x, t, s):
            alive.append(sum(ref() is not None for ref in made))
            p = super().__call__(x, t, s)
            made.append(weakref.ref(p.x0 if sampler not in ("ipndm", "deis") else p.eps))
            return p

    walking = SAMPLERS[sampler](Watched(model), noise(), time_grid(VP(), 10), **options)
    for state in walking:
        del state
    # what is remembered, and the prediction whose step was just taken; none is needed on the way into data
    assert max(alive) <= max(kept, 1) and alive[-1] <= 1


@pytest.mark.parametrize(
    ("sampler", "options", "line"),
    [
        ("unipc", {"order": 5}, "unipc: order = 5: expected one of 1, 2, 3"),
        ("unipc", {"solver": "bh3"}, "unipc: solver = 'bh3': expected one of bh1, bh2"),
        ("ipndm", {"order": 0}, "ipndm: order = 0: expected one of 1, 2, 3, 4"),
        ("deis", {"order": 4}, "deis: order = 4: expected one of 1, 2, 3"),
        ("dpm_solver", {"order": 1}, "dpm_solver: order = 1: expected one of 2, 3"),
    ],
)
def test_unknown_options_are_refused(sampler, options, line):
    denoise = Guided(mixture(Cosine()))
    with pytest.raises(FastdiffError, match=line):
        next(SAMPLERS[sampler](denoise, noise(), time_grid(Cosine(), 2), **options))
    assert denoise.nfe == 0
