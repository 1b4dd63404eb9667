"""The likelihood of data under a model: the mean of the first examples, or none where it has no meaning."""

import math

import pytest
import torch
from accelerate import Accelerator

from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import Flow
from fastdiff.data.registry import Dataset
from fastdiff.evaluation.likelihood import likelihood
from fastdiff.networks.oracle import GaussianMixture
from tests.helpers.swept import model
from tests.helpers.tensors import f64, rng


def test_it_is_that_of_the_density_whatever_the_batch():
    x = torch.randn(6, 2, generator=rng(), dtype=torch.float64)
    bell = GaussianMixture(f64([[0.0, 0.0]]), f64([1.0]), f64([1.0]), Flow())
    bits = (x[:4].square().mean() + math.log(2 * math.pi)) / 2 / math.log(2)
    found = likelihood(bell, Dataset("bell", x), 4, 50, Accelerator(cpu=True))
    assert found == pytest.approx(float(bits), abs=2e-3)
    x[4:] += 100.0  # beyond n
    assert likelihood(bell, Dataset("bell", x), 4, 3, Accelerator(cpu=True)) == pytest.approx(found, abs=1e-3)


@pytest.mark.parametrize(
    "sampling", [Sampling("consistency"), Sampling("gamma"), Sampling("ddim", steps=(2,), only=True)]
)
def test_a_student_that_jumps_has_none(sampling):
    data = Dataset("dots", torch.randn(4, 2))
    assert likelihood(model(sampling=sampling), data, 4, 4, Accelerator(cpu=True)) is None


def test_a_student_that_knows_no_weight_of_one_has_none():
    guided = model(classes=3)
    guided.guidance = (2.0, 4.0)
    data = Dataset("dots", torch.randn(4, 2), torch.tensor([0, 1, 2, 0]), 3)
    assert likelihood(guided, data, 4, 4, Accelerator(cpu=True)) is None
