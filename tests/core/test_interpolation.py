"""Levels between the entries of a table, against diffusers' own interpolations."""

import diffusers
import numpy as np
import pytest
import torch

from fastdiff.core.interpolation import alpha_between, alpha_slope, fraction_at, ratio
from fastdiff.core.schedule import DDPM

WAYS = ("alpha", "ratio", "log_ratio")


def test_ratios_between_entries_are_those_of_eulers_scheduler():
    theirs = diffusers.EulerDiscreteScheduler()
    theirs.set_timesteps(7)
    times = theirs.timesteps.double() + 1
    mine = ratio(DDPM(between="ratio").alpha_sigma(times)[0])
    torch.testing.assert_close(mine, theirs.sigmas[:-1].double(), rtol=1e-4, atol=0)


def test_times_between_entries_are_those_of_eulers_scheduler():
    theirs = diffusers.EulerDiscreteScheduler()
    sigmas = np.array([100.0, 3.3, 0.7, 0.02])
    table = np.array(((1 - theirs.alphas_cumprod) / theirs.alphas_cumprod) ** 0.5)
    wanted = torch.tensor([float(theirs._sigma_to_t(sigma, np.log(table))) for sigma in sigmas])
    mine = DDPM(between="log_ratio").time_of(torch.tensor(sigmas)) - 1
    torch.testing.assert_close(mine, wanted.double(), rtol=0, atol=2e-3)


@pytest.mark.parametrize("between", WAYS)
def test_entries_slopes_and_inverses(between):
    below, above = (torch.tensor([a, b], dtype=torch.float64) for a, b in ((1.0, 0.8), (0.9, 0.5)))
    ends = [alpha_between(below, above, torch.full_like(below, f), between) for f in (0.0, 1.0)]
    torch.testing.assert_close(torch.stack(ends), torch.stack([below, above]), rtol=1e-12, atol=1e-12)
    fraction = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True)
    alpha = alpha_between(below, above, fraction, between)
    [slope] = torch.autograd.grad(alpha.sum(), fraction)
    torch.testing.assert_close(alpha_slope(below, above, fraction.detach(), between), slope)
    if between != "alpha":
        back = fraction_at(below, above, ratio(alpha.detach()), between)
        torch.testing.assert_close(back, fraction.detach())


@pytest.mark.parametrize("between", ["ratio", "log_ratio"])
def test_the_last_of_rescaled_betas_is_finite(between):
    schedule = DDPM(zero_terminal_snr=True, between=between)
    alpha, _ = schedule.alpha_sigma(torch.tensor(1000.0, dtype=torch.float64))
    theirs = diffusers.EulerDiscreteScheduler(rescale_betas_zero_snr=True)
    assert float(alpha) == 2**-12 == float(theirs.alphas_cumprod[-1]) ** 0.5
    entries = schedule.alpha_sigma(torch.arange(1, 1000, dtype=torch.float64))[0] ** 2
    torch.testing.assert_close(entries.float(), theirs.alphas_cumprod[:-1], rtol=1e-3, atol=1e-7)
