"""The figures of diffusers' own scheduler tests, from configurations that fastdiff reads, by its samplers.

Those tests sample a network that multiplies x by t / (t + 1), from x = 0 ... 1 in equal strides, and compare
the sum or the mean of |x| at the end.
"""

from inspect import signature

import diffusers
import pytest
import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.guidance import Guided
from fastdiff.core.schedule import Karras
from fastdiff.io.formats.scheduler_config import CONSISTENCY_SETTINGS, TABLE_SETTINGS, scheduler_settings
from fastdiff.samplers.plan import plan

SHAPE = (3, 8, 8)
LINEAR = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
LATE = LINEAR | {"beta_start": 0.01}
SCALED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
V = {"prediction_type": "v_prediction"}
KARRAS = {"use_karras_sigmas": True}
SOLVER = LINEAR | {"final_sigmas_type": "sigma_min"}
MULTI = SOLVER | {"lower_order_final": False}

# Scheduler, configuration, steps, and the sum of |x| of diffusers' test.
SUMS = [
    ("DDPM", LINEAR, 1000, 258.9606),
    ("DDPM", LINEAR | V, 1000, 202.0296),
    ("DDIM", LINEAR, 10, 172.0067),
    ("DDIM", LINEAR | V, 10, 52.5302),
    ("DDIM", LATE, 10, 149.8295),
    ("DDIM", LATE | {"set_alpha_to_one": False}, 10, 149.0784),
    ("LCM", SCALED, 1, 18.7097),
    ("LCM", SCALED, 10, 197.7616),
    ("TCD", SCALED, 1, 29.8715),
    ("TCD", SCALED, 10, 181.2040),
]
# The same with the mean of |x|.
MEANS = [
    ("DPMSolverMultistep", MULTI, 10, 0.3301),
    ("DPMSolverMultistep", MULTI | V, 10, 0.2251),
    ("DPMSolverMultistep", MULTI | V | KARRAS, 10, 0.2096),
    ("DPMSolverMultistep", MULTI | V | {"use_lu_lambdas": True}, 10, 0.1554),
    ("UniPCMultistep", SOLVER, 10, 0.2464),
    ("UniPCMultistep", SOLVER | V, 10, 0.1014),
    ("UniPCMultistep", SOLVER | KARRAS, 10, 0.2925),
    ("UniPCMultistep", SOLVER | KARRAS | V, 10, 0.1966),
    ("DEISMultistep", LINEAR, 10, 0.23916),
    ("DEISMultistep", LINEAR | V, 10, 0.091),
]


class Fraction(nn.Module):
    """The network of diffusers' tests: t / (t + 1) of x."""

    def forward(self, x, t, s=None, cond=None):
        t = t.view(-1, 1, 1, 1)
        return x * t / (t + 1)


def start():
    count = 4 * 3 * 8 * 8
    return (torch.arange(count, dtype=torch.float64) / count).reshape(3, 8, 8, 4).permute(3, 0, 1, 2)


def made(model, steps, spacing=None, scale=1.0):
    way = plan(model, None, steps, spacing)
    generator = torch.Generator().manual_seed(0)
    options = dict(way.sampler_options)
    if "randn" in signature(way.run).parameters:
        options["randn"] = lambda x: torch.randn(x.shape, generator=generator).to(x)
    denoise = Guided(model, **vars(way.guidance_options))
    *_, last = way.run(denoise, start() * scale, way.times, **options)
    return last.x.abs()


def read(folder, name, options, steps):
    """Our model of the network with a scheduler's configuration, and the scheduler's grid as times."""
    scheduler = getattr(diffusers, f"{name}Scheduler")(**options)
    scheduler.save_pretrained(folder / "scheduler")
    model = scheduler_settings(folder, TABLE_SETTINGS).model(Fraction(), SHAPE)
    if name not in ("LCM", "TCD"):
        return model, None
    scheduler.set_timesteps(steps)  # few-step grids are only recorded for 1, 2, 4 and 8 steps
    return model, (scheduler.timesteps + 1).tolist()


@pytest.mark.parametrize(("name", "options", "steps", "wanted"), SUMS)
def test_sums(tmp_path, name, options, steps, wanted):
    model, spacing = read(tmp_path, name, options, steps)
    assert float(made(model, steps, spacing).sum()) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(("name", "options", "steps", "wanted"), MEANS)
def test_means(tmp_path, name, options, steps, wanted):
    model, _ = read(tmp_path, name, options, steps)
    assert float(made(model, steps).mean()) == pytest.approx(wanted, abs=1e-3)  # theirs; one is stale by 4e-4


@pytest.mark.parametrize(("timesteps", "wanted"), [([0], 192.7614), ([106, 0], 347.6357)])
def test_consistency_models(tmp_path, timesteps, wanted):
    scheduler = diffusers.CMStochasticIterativeScheduler(num_train_timesteps=201)
    scheduler.save_pretrained(tmp_path / "scheduler")
    own = scheduler_settings(tmp_path, CONSISTENCY_SETTINGS).sampling
    scheduler.set_timesteps(timesteps=timesteps)
    model = Denoiser(Fraction(), Karras(), "cm", SHAPE, "cm", 0.5, True, sampling=own)
    sigmas = scheduler.sigmas[:-1].tolist()
    found = made(model, len(timesteps), sigmas, scheduler.init_noise_sigma)
    assert own.clip == 1 and float(found.sum()) == pytest.approx(wanted, rel=1e-5)
