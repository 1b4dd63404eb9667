"""Adaptive solvers against exact flow maps, their own tolerance, and their neighbours in the batch."""

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.errors import FastdiffError
from fastdiff.core.guidance import Guided
from fastdiff.core.schedule import Cosine, Flow, Karras
from fastdiff.samplers import SAMPLERS
from tests.helpers.tensors import f64
from tests.helpers.walks import gaussian, mixture, noise, reference, schedules

solvers = pytest.mark.parametrize("sampler", ["ode23", "ode45"])


def solve(sampler, model, x, times, **options):
    denoise = Guided(model)
    *_, last = SAMPLERS[sampler](denoise, x, f64(times), **options)
    return last.x, denoise.nfe


@solvers
@schedules
def test_the_flow_map_of_a_gaussian(sampler, schedule):
    """From t_max, alpha = 0 included, to data: the error follows the tolerance down,
    and the evaluations rise."""
    mean, std = 0.6, 0.4
    alpha, sigma = schedule.alpha_sigma(f64(schedule.t_max))
    x = sigma * noise(dims=1)
    exact = mean + std * (x - alpha * mean) / torch.hypot(alpha * std, sigma)
    errors, costs = [], []
    for tolerance in (1e-2, 1e-4, 1e-6):
        got, nfe = solve(
            sampler,
            gaussian(std, schedule, mean),
            x,
            [schedule.t_max, 0.0],
            rtol=tolerance,
            atol=tolerance,
            ratio_min=1e-5,
        )
        errors.append(float((got - exact).abs().max()))
        costs.append(nfe)
        assert errors[-1] < 20 * tolerance
    assert errors[0] > 5 * errors[1] > 25 * errors[2] and costs[0] < costs[1] < costs[2]


@solvers
def test_the_tolerance_is_met_on_a_mixture(sampler):
    exact = reference(Karras(), 80.0, 0.002, 1500)
    found = {
        rtol: solve(sampler, mixture(Karras()), 80 * noise(), [80.0, 0.002], rtol=rtol, atol=rtol)
        for rtol in (1e-3, 1e-5, 1e-6)
    }
    for tolerance, (got, _) in found.items():
        assert (got - exact).square().mean().sqrt() < 10 * tolerance
    assert found[1e-3][1] < found[1e-5][1] < found[1e-6][1]


def test_the_higher_order_is_cheaper_where_much_is_asked():
    costs = {
        sampler: [
            solve(sampler, mixture(Cosine()), noise(), [1.0, 0.0], rtol=tolerance, atol=tolerance)[1]
            for tolerance in (1e-2, 1e-6)
        ]
        for sampler in ("ode23", "ode45")
    }
    assert costs["ode45"][1] < costs["ode23"][1] / 2 and costs["ode23"][0] <= costs["ode45"][0] + 6


@solvers
def test_a_sample_does_not_depend_on_its_batch(sampler):
    """Nor on when its neighbours arrive: each has its own steps."""
    x = noise(8) * f64([[1.0]] * 4 + [[3.0]] * 4)
    together, shared = solve(sampler, mixture(Cosine()), x, [1.0, 0.0])
    alone = [solve(sampler, mixture(Cosine()), x[i : i + 1], [1.0, 0.0]) for i in range(8)]
    torch.testing.assert_close(together, torch.cat([one for one, _ in alone]), rtol=0, atol=1e-12)
    costs = [nfe for _, nfe in alone]
    assert len(set(costs)) > 1 and shared == max(costs)


@solvers
def test_only_the_ends_of_the_grid_count(sampler):
    few, many = (
        solve(sampler, mixture(Flow()), noise(), times) for times in ([1.0, 0.0], [1.0, 0.7, 0.1, 0.0])
    )
    assert torch.equal(few[0], many[0]) and few[1] == many[1]


@solvers
@schedules
def test_a_walk_may_be_broken_in_two(sampler, schedule):
    """It lands on any last time, and goes on from there."""
    top, tight = schedule.t_max, {"rtol": 1e-6, "atol": 1e-6}
    x = noise() * schedule.alpha_sigma(f64(top))[1]
    whole, _ = solve(sampler, mixture(schedule), x, [top, 0.2 * top], **tight)
    halfway, _ = solve(sampler, mixture(schedule), x, [top, 0.5 * top], **tight)
    torch.testing.assert_close(
        solve(sampler, mixture(schedule), halfway, [0.5 * top, 0.2 * top], **tight)[0],
        whole,
        rtol=0,
        atol=1e-4,
    )


@solvers
@schedules
def test_states_tell_how_far_the_slowest_is(sampler, schedule):
    model, x = mixture(schedule), noise() * schedule.alpha_sigma(f64(schedule.t_max))[1]
    denoise, stages = Guided(model), {"ode23": 3, "ode45": 6}[sampler]
    states = list(SAMPLERS[sampler](denoise, x, f64([schedule.t_max, 0.0])))
    reached = [float(state.t) for state in states]
    assert reached == sorted(reached, reverse=True) and reached[-1] == 0 < reached[-2] < schedule.t_max
    assert torch.equal(states[-1].x, states[-1].x0) and denoise.nfe == 1 + stages * len(states)


def test_one_sample_is_where_its_state_says():
    model = mixture(Cosine())
    for state in list(SAMPLERS["ode45"](Guided(model), noise(1), f64([1.0, 0.0])))[:-1]:
        torch.testing.assert_close(state.x0, model(state.x, state.t).x0)


@solvers
def test_a_start_below_the_smallest_ratio_is_one_prediction(sampler):
    x, model = noise(), mixture(Karras())
    got, nfe = solve(sampler, model, x, [1e-3, 0.0])
    assert nfe == 1 and torch.equal(got, model(x, f64([1e-3] * len(x))).x0)


@solvers
@pytest.mark.parametrize("option", ["rtol", "atol", "ratio_min"])
@pytest.mark.parametrize("value", [0.0, -1e-3, float("nan")])
def test_a_tolerance_is_above_0(sampler, option, value):
    with pytest.raises(
        FastdiffError, match=f"sampler {sampler}: {option} = {value}: expected a number above 0"
    ):
        solve(sampler, mixture(Cosine()), noise(), [1.0, 0.0], **{option: value})


@solvers
def test_predictions_that_are_not_finite_end_the_walk(sampler):
    class Broken(torch.nn.Module):
        def forward(self, x, t, s=None, cond=None):
            return torch.where(t[:, None] < 0.5, torch.nan, x)

    with pytest.raises(FastdiffError, match=f"sampler {sampler}: no step is short enough .* not finite"):
        solve(sampler, Denoiser(Broken(), Cosine(), "x0", time_input="time"), noise(), [1.0, 0.0])
