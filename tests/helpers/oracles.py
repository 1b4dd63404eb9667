"""Exact models as oracles: a network whose prediction is a given function, points and mixtures,
and batches for them."""

import torch
from torch import nn

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.network import Network
from fastdiff.core.rng import SampleRng
from fastdiff.core.schedule import DDPM, Cosine, Flow, Karras
from fastdiff.data.registry import Batch
from fastdiff.methods import Progress
from fastdiff.networks import MLP
from fastdiff.networks.oracle import GaussianMixture

POINT = torch.tensor([0.3, -0.7], dtype=torch.float64)


named = {"ids": lambda v: v if isinstance(v, str) else type(v).__name__}


PARAMETERISATIONS = [
    (Flow(), "velocity"),
    (Cosine(), "v"),
    (Cosine(), "x0"),
    (Karras(), "edm"),
    (DDPM(), "eps"),
]


START, MIDDLE = Progress(0, 100, 0), Progress(50, 100, 6400)


class Told(Network):
    """A network whose clean prediction is a given function clean(x, t, s); it keeps what it was asked."""

    null_label = None

    def __init__(self, clean, schedule, predicts):
        super().__init__()
        self.clean, self.schedule, self.predicts, self.asked = clean, schedule, predicts, []

    def forward(self, x, t, s=None, cond=None):
        self.asked.append((x, t, s, cond))
        alpha, sigma = (like(c, x) for c in self.schedule.alpha_sigma(t))
        x0 = self.clean(x, t, s)
        return self.model.target(x0, (x - alpha * x0) / sigma, t)


def told(clean, schedule, predicts, shape=(2,)):
    net = Told(clean, schedule, predicts)
    model = Denoiser(net, schedule, predicts, shape, time_input="time", two_times=True)
    object.__setattr__(net, "model", model)  # not a child of its child
    return model


def constant(point, schedule, predicts):
    """The ideal denoiser of one point, which can be moved."""
    model = told(lambda x, t, s: model.net.point.expand_as(x), schedule, predicts)
    model.net.point = nn.Parameter(point.clone())
    return model


def batch_of(x0, seed=0, cond=None):
    positions = torch.arange(len(x0))
    eps = SampleRng(seed + 2, positions).normal(x0.shape[1:]).to(x0)  # for methods that learn from pairs
    return Batch(x0, cond, SampleRng(seed, positions), SampleRng(seed + 1, positions[:1]), eps)


def mixture(schedule):
    means = torch.tensor([[0.8, 0.0], [-0.3, 0.6], [-0.4, -0.9]], dtype=torch.float64)
    return GaussianMixture(
        means, torch.tensor([0.1, 0.2, 0.3]).double(), torch.tensor([0.5, 0.3, 0.2]).double(), schedule
    )


def draws_of(model, n, seed=0):
    rng, net = SampleRng(seed ^ 0xDA7A, torch.arange(n)), model.net
    kind = torch.searchsorted(net.log_weights.exp().cumsum(0), rng.uniform())
    return net.means[kind] + net.stds[kind, None] * rng.normal((2,))


class Dropping(MLP):
    """A network with dropout whose masks it keeps."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.masks = []

    def forward(self, x, t, s=None, cond=None):
        self.masks.append(nn.functional.dropout(torch.ones(len(x), 8), 0.5, self.training))
        return super().forward(x, t, s, cond) * (1 + self.masks[-1].mean(1, keepdim=True))
