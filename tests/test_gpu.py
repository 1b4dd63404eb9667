"""On a CUDA device: the same noise, the same samples, a training that learns. Skipped where there is none."""

import pytest
import torch
from accelerate import Accelerator

from fastdiff.core.guidance import Guided
from fastdiff.core.rng import SampleRng
from fastdiff.core.schedule import Cosine
from fastdiff.data.registry import open_dataset
from fastdiff.evaluation.opening import open_evaluators
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.runs import recipe
from fastdiff.runs import run as stages
from fastdiff.samplers import SAMPLERS, time_grid
from fastdiff.samplers.generate import generate
from fastdiff.samplers.plan import SamplingPlan
from tests.helpers.rows import model_rows

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

TINY = {
    "name": "tiny",
    "data": {"name": "toy", "n": 500},
    "model": {"net": {"name": "mlp", "width": 32}},
    "train": {"batch": 64, "log_every": 10},
    "stages": {
        "teacher": {"method": "denoising", "train": {"steps": 200}},
        "progressive": {
            "method": {"name": "progressive", "steps": [2, 1]},
            "teacher": "teacher",
            "train": {"steps": 50},
        },
        "consistency": {"method": "ect", "init": "teacher", "train": {"steps": 50}},
    },
    "bench": {"steps": [1, 2], "baselines": ["ddpm:20"], "n": 200},
}


def test_noise_is_the_same_as_on_the_cpu():
    here, there = SampleRng(3, torch.arange(50)), SampleRng(3, torch.arange(50), "cuda")
    assert torch.equal(here.uniform(), there.uniform().cpu())
    torch.testing.assert_close(here.normal((3, 8, 8)), there.normal((3, 8, 8)).cpu(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_are_the_same_as_on_the_cpu(name):
    model = GaussianMixture(torch.randn(4, 1, 4, 4), torch.full((4,), 0.1), torch.ones(4), Cosine())
    here, there = (
        next(generate(model.to(device), SamplingPlan(name, time_grid(Cosine(), 8)), torch.arange(16))).x.cpu()
        for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(here, there, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", [name for name, draw in SAMPLERS.items() if not draw.traits.adaptive])
def test_no_sampler_waits_for_the_device(name):
    """An adaptive solver must: it asks once a round whether all samples have arrived."""
    model = GaussianMixture(torch.randn(4, 1, 4, 4), torch.full((4,), 0.1), torch.ones(4), Cosine()).to(
        "cuda"
    )
    rng, times = SampleRng(0, torch.arange(16), "cuda"), time_grid(Cosine(), 8)
    noise = {"randn": lambda x: rng.normal(x.shape[1:])} if SAMPLERS[name].traits.noise != "none" else {}
    x = rng.normal((1, 4, 4))
    list(SAMPLERS[name](Guided(model), x, times, **noise))  # what is made once may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        list(SAMPLERS[name](Guided(model), x, times, **noise))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_the_chain_runs(tmp_path, precision):
    source = TINY | {"train": TINY["train"] | {"precision": precision}}
    folder = stages.run(recipe.build(source), tmp_path / precision)
    rows = model_rows(folder)
    assert len(rows) == 7 and all("CPU" not in row["device"] for row in rows)


def test_figures_are_the_same_as_on_the_cpu(tmp_path):
    digits = open_dataset("digits")
    images = (digits.get(torch.arange(300))[0] * 0.9).clamp(-1, 1)
    found = []
    for device in ("cpu", "cuda"):
        metrics = ("fd", "kd", "pr", "sfd", "score", "accuracy")
        [evaluator] = open_evaluators(digits, None, metrics, device, tmp_path / device)
        evaluator.add(torch.arange(300), images.to(device), digits.labels[:300])
        found.append(evaluator.result(Accelerator()).values)
    here, there = found
    assert there.pop("classes_digits") == pytest.approx(here.pop("classes_digits"), abs=0.05)
    assert there == pytest.approx(here, rel=1e-3, abs=1e-3)
