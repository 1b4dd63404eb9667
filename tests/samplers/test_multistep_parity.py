"""Multistep solvers against the papers' algorithms, and against diffusers on the same noise and network."""

import math
from itertools import pairwise

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import DDPM, VP, Cosine, Flow, Karras
from fastdiff.samplers import time_grid
from tests.helpers.diffusers_schedulers import NAMES, on_our_grid
from tests.helpers.walks import mixture, noise, walk

# ---- the papers


@pytest.mark.parametrize("schedule", [VP(), Karras(), Flow()], ids=repr)
def test_dpmpp_2m_is_algorithm_2_of_lu(schedule):
    model, times = mixture(schedule), time_grid(schedule, 12, "karras")
    x = start = noise() * schedule.alpha_sigma(times[0])[1]
    half_log_snr = lambda t: math.log(schedule.alpha_sigma(t)[0] / schedule.alpha_sigma(t)[1])  # noqa: E731
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


# ---- diffusers, on the same noise and network


@pytest.mark.parametrize("steps", [2, 3, 10, 25])
@pytest.mark.parametrize("predicts", list(NAMES))
@pytest.mark.parametrize(("sampler", "theirs"), [("dpmpp_2m", {}), ("dpmpp_3m", {"solver_order": 3})])
def test_dpmpp_is_diffusers(net64, sampler, theirs, predicts, steps):
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        prediction_type=NAMES[predicts], lower_order_final=False, **theirs
    )
    model, times = Denoiser(net64, DDPM(), predicts), time_grid(DDPM(), steps, "trailing")
    got = walk(sampler, model, noise(dims=3), times, **{"compat": True} if sampler == "dpmpp_3m" else {})
    wanted = on_our_grid(scheduler, model, noise(dims=3), times)
    torch.testing.assert_close(got[-1].x, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="their second difference counts half, which makes the third order a second; no thread tells of it",
)
def test_the_exact_third_order_is_not_diffusers(net64):
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(lower_order_final=False, solver_order=3)
    model, times = Denoiser(net64, DDPM(), "eps"), time_grid(DDPM(), 10, "trailing")
    torch.testing.assert_close(
        walk("dpmpp_3m", model, noise(dims=3), times)[-1].x,
        on_our_grid(scheduler, model, noise(dims=3), times),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("order", "solver", "end"),
    [
        (1, "bh1", -1),
        (2, "bh1", -1),
        (3, "bh1", -1),
        (1, "bh2", None),
        (2, "bh2", None),
        (2, "bh2", -1),
        (3, "bh2", -1),
    ],
)
@pytest.mark.parametrize("predicts", list(NAMES))
def test_unipc_is_diffusers(net64, order, solver, end, predicts):
    """(Into data their bh1 is 0 times infinity, and their third order goes down by way of the second,
    ours at once.)"""
    from diffusers import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(
        solver_order=order, solver_type=solver, prediction_type=NAMES[predicts], lower_order_final=end is None
    )
    model, times = Denoiser(net64, DDPM(), predicts), time_grid(DDPM(), 12, "trailing")[:end]
    got = walk("unipc", model, noise(dims=3), times, order=order, solver=solver)
    wanted = on_our_grid(scheduler, model, noise(dims=3), times)
    torch.testing.assert_close(got[-1].x, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("predicts", list(NAMES))
@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis_is_diffusers(net64, order, predicts):
    """(Theirs cannot step into data, InvokeAI#6368.)"""
    from diffusers import DEISMultistepScheduler

    scheduler = DEISMultistepScheduler(
        solver_order=order, lower_order_final=False, prediction_type=NAMES[predicts]
    )
    model, times = Denoiser(net64, DDPM(), predicts), time_grid(DDPM(), 12, "trailing")[:-1]
    got = walk("deis", model, noise(dims=3), times, order=order)
    wanted = on_our_grid(scheduler, model, noise(dims=3), times)
    torch.testing.assert_close(got[-1].x, wanted, rtol=1e-5, atol=1e-5)


def test_ipndm_is_diffusers(net64):
    """Their iPNDM knows v-prediction only, and its levels are set by hand; into data it keeps its order,
    ours does not."""
    from diffusers import IPNDMScheduler

    model, times = Denoiser(net64, Cosine(), "v"), torch.linspace(0.98, 0.02, 13, dtype=torch.float64) ** 1.5
    scheduler = IPNDMScheduler()
    scheduler.set_timesteps(12)
    (scheduler.alphas, scheduler.betas), x = Cosine().alpha_sigma(times), noise(dims=3)
    scheduler.timesteps = torch.arange(12, 0, -1)
    for timestep, t in zip(scheduler.timesteps, times):
        x = scheduler.step(model.raw(x, t), timestep, x).prev_sample
    torch.testing.assert_close(walk("ipndm", model, noise(dims=3), times)[-1].x, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("steps", [2, 3, 18])
@pytest.mark.parametrize(
    ("sampler", "options", "name", "theirs"),
    [
        ("euler", {}, "EDMEulerScheduler", {}),
        ("ddim", {}, "EDMEulerScheduler", {}),
        ("dpmpp_2m", {}, "EDMDPMSolverMultistepScheduler", {"lower_order_final": False}),
        (
            "dpmpp_3m",
            {"compat": True},
            "EDMDPMSolverMultistepScheduler",
            {"lower_order_final": False, "solver_order": 3},
        ),
    ],
)
def test_edm_is_diffusers(net64, sampler, options, name, theirs, steps):
    """On their own grid: EDM's network, coordinates and Karras ramp, all of it theirs."""
    import diffusers

    scheduler = getattr(diffusers, name)(sigma_data=0.5, **theirs)
    scheduler.set_timesteps(steps)
    model = Denoiser(net64, Karras(), "edm", time_input="edm", sigma_data=0.5, scale_input=True)
    x = start = 80 * noise(dims=3)
    for t in scheduler.timesteps:
        x = scheduler.step(
            net64(scheduler.scale_model_input(x, t), t.double().expand(len(x))), t, x
        ).prev_sample
    got = walk(sampler, model, start, time_grid(Karras(), steps, "karras"), **options)
    torch.testing.assert_close(got[-1].x, x, rtol=1e-4, atol=1e-4)
