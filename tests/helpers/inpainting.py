"""Images of two numbers, of which one is known: a model, its images, a mask, and samplers run on them."""

import torch

from fastdiff.networks.oracle import GaussianMixture
from fastdiff.samplers import SAMPLERS
from tests.helpers.tensors import f64


def drawing(seed=0):
    """Draws in one sequence, the same each time it is made."""
    generator = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)


def pair(schedule):
    """Two bells, up to the right and down to the left: the first coordinate tells much of the second."""
    return GaussianMixture(f64([[-0.5, -1.0], [0.5, 1.0]]), f64([0.5, 0.5]), f64([1.0, 1.0]), schedule)


def picture(n=8):
    return torch.linspace(-1, 1, 2 * n, dtype=torch.float64).reshape(n, 2).contiguous()


MASK = f64([1.0, 0.0])


def walk(sampler, denoise, x, times):
    noise = {"randn": drawing()} if SAMPLERS[sampler].traits.noise != "none" else {}
    *_, state = SAMPLERS[sampler](denoise, x, times, **noise)
    return state
