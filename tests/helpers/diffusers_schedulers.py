"""Schedulers of diffusers in the hands of tests: exact tables, and walks by them."""

import torch

NAMES = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}


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


def on_our_grid(scheduler, model, x, times):
    """diffusers' scheduler driven by these times: its sigmas are sigma / alpha,
    its timesteps only tell steps apart."""
    alpha, sigma = model.schedule.alpha_sigma(times)
    scheduler.set_timesteps(len(times) - 1)
    scheduler.sigmas = sigma / alpha
    scheduler.timesteps = torch.arange(len(times) - 1, 0, -1).double()
    for timestep, t in zip(scheduler.timesteps, times):
        x = scheduler.step(model.raw(x, t), timestep, x).prev_sample
    return x
