"""Orders of convergence of the samplers that add no noise."""

import math
from itertools import pairwise

import pytest
import torch

from fastdiff.core.schedule import VP, Cosine, Flow, Karras, Trig
from fastdiff.samplers import SAMPLERS, time_grid
from tests.helpers.tensors import f64
from tests.helpers.walks import ADAPTIVE, RATES, gaussian, mixture, noise, reference, schedules, walk


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
    """Of the third order's public form too, which is second; and ipndm's,
    whose weights are an even grid's."""
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
