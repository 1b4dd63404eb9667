"""A mixture in many dimensions, all of whose modes lie in the first two."""

import torch

from fastdiff.networks.oracle import GaussianMixture
from tests.helpers.tensors import f64

MEANS, STDS, WEIGHTS = (
    f64([[-1.0, 0.2], [0.8, 1.0], [0.5, -1.2]]),
    f64([0.2, 0.15, 0.18]),
    f64([0.2, 0.5, 0.3]),
)


def centres(dims):
    return torch.nn.functional.pad(MEANS, (0, dims - 2))


def mixture(schedule, dims=2):
    return GaussianMixture(centres(dims), STDS, WEIGHTS, schedule)
