"""Samplers add next to nothing to their network, and less than diffusers' schedulers; ratios of one run,
never times."""

import gc
import sys

import diffusers
import pytest
import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Cosine
from fastdiff.evaluation.profiling import samplers
from fastdiff.evaluation.profiling.samplers import (
    BATCH,
    NOISE_DRAWING_PEERS,
    PEERS,
    SHAPE,
    over_pipeline,
    speed,
    step_cost,
)
from fastdiff.io.load import load
from fastdiff.networks import unet
from fastdiff.samplers import time_grid
from fastdiff.samplers.generate import generate
from fastdiff.samplers.plan import SamplingPlan
from tests.helpers.paths import ROOT

pytestmark = [pytest.mark.alone, pytest.mark.long]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Denoiser(
        unet((1, 8, 8), channels=(32, 64), layers=1).eval().requires_grad_(False), Cosine(), "v", (1, 8, 8)
    )


def least(measure, enough, tries=12):
    """Return the least of a few measurements, as few as are needed: other work only ever adds."""
    found = []
    while len(found) < tries and min(found, default=float("inf")) > enough:
        found.append(measure())
    return min(found)


@pytest.fixture
def noise_given(monkeypatch):
    """Give their noise to our steps, and to those of diffusers that would draw it."""
    noise = torch.randn(BATCH, *SHAPE)
    for sampler in NOISE_DRAWING_PEERS:
        module = sys.modules[getattr(diffusers, PEERS[sampler][0]).__module__]
        monkeypatch.setattr(module, "randn_tensor", lambda *shape, **options: noise)
    monkeypatch.setattr(samplers, "NOISE_DRAWING_PEERS", ())


@pytest.mark.parametrize("sampler", list(PEERS))
@pytest.mark.usefixtures("noise_given")
def test_a_step_costs_at_most_six_tenths_of_diffusers(sampler):
    assert least(lambda: step_cost(sampler, 20, 10)["over_diffusers"], 0.6) <= 0.6


@pytest.mark.parametrize("sampler", ["ddpm", "dpmpp_2m_sde"])
def test_diffusers_steps_draw_their_noise_only_where_it_cannot_be_given(sampler, monkeypatch):
    """And nothing of diffusers is replaced while they are timed."""
    module, drawn = sys.modules[getattr(diffusers, PEERS[sampler][0]).__module__], []
    plain = module.randn_tensor
    monkeypatch.setattr(module, "randn_tensor", lambda *a, **o: drawn.append(1) or plain(*a, **o))
    step_cost(sampler, 5, 1)
    assert bool(drawn) == (sampler in NOISE_DRAWING_PEERS)


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m", "ddpm"])
def test_sampling_takes_the_time_of_its_evaluations(model, sampler):
    """Of a network of 20 ms a pass, on as many evaluations, the noise drawn sample by sample included."""
    assert least(lambda: next(speed(model, [sampler], repeats=5))["over_forward"], 1.02) <= 1.02


def test_a_row_says_what_was_measured(model):
    row = next(speed(model, ["heun"], steps=3, repeats=1))
    assert (row["sampler"], row["steps"], row["nfe"]) == ("heun", 3, 5)
    assert row["forward_ms"] >= 20 and row["over_diffusers"] == row["step_us"] / row["diffusers_step_us"]
    assert next(speed(model, ["langevin"], steps=2, repeats=1))["over_diffusers"] is None


def test_memory_does_not_grow_with_the_steps(model):
    """A state is let go when the next one is made: tensors alive at the end of a long run are those of a
    short one."""
    alive = []
    for steps in (5, 50):
        kept = next(
            generate(model, SamplingPlan("dpmpp_3m", time_grid(model.schedule, steps)), torch.arange(4))
        )
        alive.append(sum(isinstance(o, torch.Tensor) for o in gc.get_objects()))
        del kept
    assert alive[1] <= alive[0]


def test_sampling_is_never_slower_than_diffusers_pipeline():
    path = str(ROOT / "checkpoints/digits/teacher")
    model = load(path)
    assert least(lambda: over_pipeline(path, model, 4, 64, 5), 1.0) <= 1.0
