"""Models that say a variance: an exact one of a Gaussian, and a tiny network of diffusers."""

import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.guidance import Guided
from fastdiff.core.network import Network
from fastdiff.core.rng import SampleRng
from fastdiff.core.schedule import DDPM
from fastdiff.data.registry import Batch
from fastdiff.methods import Progress
from fastdiff.networks import unet
from fastdiff.samplers import SAMPLERS

START = Progress(0, 100, 0)


SHAPE = (3, 8, 8)


class Says(Network):
    """An exact model of N(0, std^2) that says the same share everywhere of the way from beta-tilde to
    beta."""

    learned_variance = True

    def __init__(self, schedule, share, std=0.5):
        super().__init__()
        self.schedule, self.std = schedule, std
        self.output = nn.Parameter(torch.tensor(2.0 * share - 1, dtype=torch.float64))

    def forward(self, x, t, s=None, cond=None):
        alpha, sigma = (c[:, None] for c in self.schedule.alpha_sigma(t))
        x0 = alpha * self.std**2 / ((alpha * self.std) ** 2 + sigma**2) * x
        return torch.cat([x0, self.output.expand_as(x)], 1)


def says(schedule, share, std=0.5):
    return Denoiser(Says(schedule, share, std), schedule, "x0", (2,), time_input="time")


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reused(seed=5):
    generator = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)


def walk(model, x, times, **options):
    with torch.no_grad():
        return [state.x for state in SAMPLERS["ddpm"](Guided(model), x, times, randn=reused(), **options)]


def batch_of(x0, seed=0):
    positions = torch.arange(len(x0))
    return Batch(x0, None, SampleRng(seed, positions), SampleRng(seed + 1, positions[:1]))


def tiny(predicts="eps", schedule=None):
    torch.manual_seed(0)
    net = unet(SHAPE, channels=(8, 8), layers=1, groups=4, learned_variance=True)
    nn.init.normal_(net.module.conv_out.weight, std=0.2)
    return Denoiser(net, schedule or DDPM(), predicts, SHAPE).eval()
