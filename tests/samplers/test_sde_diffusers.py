"""Samplers that add noise against diffusers, on the same noise and network."""

import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import DDPM, Karras
from tests.helpers.walks import noise, reused, walk


def exact(scheduler):
    """diffusers' scheduler with its float32 table made in float64."""
    scheduler.alphas_cumprod = (1 - torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)).cumprod(0).float()
    return scheduler


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_euler_ancestral_is_diffusers(net, steps):
    """Theirs lives in x / alpha; it has no eta, and draws noise on the last step too,
    to multiply it by zero."""
    from diffusers import EulerAncestralDiscreteScheduler

    scheduler = exact(EulerAncestralDiscreteScheduler(timestep_spacing="trailing"))
    scheduler.set_timesteps(steps)
    times = torch.cat([scheduler.timesteps.double() + 1, torch.zeros(1)])
    generator, start = torch.Generator().manual_seed(5), noise(dims=3).float()
    y = start / DDPM().alpha_sigma(times[0])[0].float()
    for t in scheduler.timesteps:
        output = net(scheduler.scale_model_input(y, t), t.expand(len(y)))
        y = scheduler.step(output, t, y, generator=generator).prev_sample
    got = walk("euler_ancestral", Denoiser(net, DDPM(), "eps"), start, times, randn=reused())
    torch.testing.assert_close(got[-1].x, y, rtol=1e-4, atol=1e-4 * float(y.abs().max()))


@pytest.mark.parametrize("steps", [1, 2, 10, 25])
@pytest.mark.parametrize(
    ("predicts", "theirs"), [("eps", "epsilon"), ("v", "v_prediction"), ("x0", "sample")]
)
def test_dpmpp_2m_sde_is_diffusers(net, predicts, theirs, steps):
    from diffusers import DPMSolverMultistepScheduler

    scheduler = exact(
        DPMSolverMultistepScheduler(
            timestep_spacing="trailing",
            final_sigmas_type="zero",
            algorithm_type="sde-dpmsolver++",
            prediction_type=theirs,
        )
    )
    scheduler.set_timesteps(steps)
    times = torch.cat([scheduler.timesteps.double() + 1, torch.zeros(1)])
    alpha, sigma = DDPM().alpha_sigma(times)
    scheduler.sigmas = (sigma / alpha).float()
    generator, x = torch.Generator().manual_seed(5), noise(dims=3).float()
    for t in scheduler.timesteps:
        x = scheduler.step(net(x, t.float().expand(len(x))), t, x, generator=generator).prev_sample
    got = walk("dpmpp_2m_sde", Denoiser(net, DDPM(), predicts), noise(dims=3).float(), times, randn=reused())
    torch.testing.assert_close(got[-1].x, x, rtol=1e-4, atol=1e-4 * float(x.abs().max()))


def test_churn_is_not_diffusers():
    """Theirs adds the noise after the network was asked (SAMPLERS: a step(output) API cannot ask again at the
    raised level).

    Without churn their EDM scheduler is our euler_ancestral at eta 0; with it, it is not the sampler of the
    paper.
    """
    from diffusers import EDMEulerScheduler

    class Linear(torch.nn.Module):
        def forward(self, x, t, s=None, cond=None):
            return 0.3 * x

    model = Denoiser(Linear(), Karras(), "edm", time_input="edm", sigma_data=0.5, scale_input=True)
    results = {}
    for churn in (0.0, 5.0):
        scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
        scheduler.set_timesteps(12)
        x, generator = 80 * noise().float(), torch.Generator().manual_seed(5)
        for t in scheduler.timesteps:
            output = model.net(scheduler.scale_model_input(x, t), t)
            x = scheduler.step(output, t, x, s_churn=churn, generator=generator).prev_sample
        results[churn] = x
    times = scheduler.sigmas.double()
    got = walk("euler_ancestral", model, 80 * noise().float(), times, eta=0.0)[-1].x
    torch.testing.assert_close(got, results[0.0], rtol=1e-4, atol=1e-4)
    assert (results[5.0] - results[0.0]).abs().max() > 1e-2
