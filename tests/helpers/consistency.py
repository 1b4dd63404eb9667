"""Closed forms of the consistency family on a Gaussian, and short trainings on the toy."""

import math
from copy import deepcopy

import torch
from accelerate import Accelerator
from torch import nn

from fastdiff.core.broadcast import like
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.rng import SampleRng
from fastdiff.core.schedule import Cosine
from fastdiff.data.toys import toy
from fastdiff.evaluation.metrics.kernels import discrepancy, distance
from fastdiff.methods import METHODS, Progress
from fastdiff.networks import mlp
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.samplers.generate import sample
from fastdiff.training.config import merge_train_config
from fastdiff.training.loop import Training
from tests.helpers.oracles import told

# Settings of ECT and its kin under which s is the same fraction of every t.
IN_TIME = {"clock": "time", "k": 0.0}
SIZE = 0.5  # of the Gaussian whose every answer is known


def std(schedule, t):
    alpha, sigma = schedule.alpha_sigma(t)
    return ((SIZE * alpha) ** 2 + sigma**2).sqrt()


def exact(schedule, tilt=None):
    """f(x, t) = size x / std(x_t), the consistency function of N(0, size^2);
    tilt times t / t_max makes it wrong."""
    tilt = nn.Parameter(torch.zeros((), dtype=torch.float64)) if tilt is None else tilt
    model = told(
        lambda x, t, s: like(SIZE / std(schedule, t) * (1 + tilt * t / schedule.t_max), x) * x,
        schedule,
        "v",
        (1,),
    )
    model.net.tilt = tilt
    return model


def gaussian(schedule):
    return GaussianMixture(
        *(torch.tensor(v, dtype=torch.float64) for v in ([[0.0]], [SIZE], [1.0])), schedule
    )


def data(n, seed=0):
    return SIZE * SampleRng(seed, torch.arange(n)).normal((1,)).double()


def rng(n, seed=0):
    return SampleRng(seed, torch.arange(n))


class Dropping(nn.Module):
    """A network of dropout that keeps what every pass let through of ones."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 32), nn.Dropout(0.5), nn.Linear(32, 2)).double()
        self.seen = []

    def forward(self, x, t, s=None, cond=None):
        hidden = self.layers[1](self.layers[0](x))
        self.seen.append(hidden.detach() != 0)
        return self.layers[2](hidden) * (1 + t[:, None])


TOY = toy(n=4000)


def trained(method, student, teacher, folder, steps=300, **settings):
    """The exported average of a short training, sampled as its method says."""
    torch.set_num_threads(1)
    first = {"steps": steps, "batch": 256, "ema": 0.98, "log_every": steps}
    config = merge_train_config(first, method.training, settings, path="train")
    student = deepcopy(student).train().requires_grad_(True)
    run = Training(method, Progress, student, teacher, TOY, config, folder, Accelerator(cpu=True))
    logs = [logs for _, logs in run][-1]
    assert all(math.isfinite(v) for v in logs.values()) and "loss" in logs
    run.average.sampling = method.sampling()
    return run.average


def energy(model, steps, sampler=None):
    x = sample(model, sampler, steps=steps, n=2000, seed=3)
    return discrepancy(x, TOY.examples[:2000], distance).value


def denoiser(folder, time_input="timestep"):
    """A denoiser of the mixture, from which students start."""
    torch.manual_seed(0)
    model = Denoiser(mlp((2,), width=64), Cosine(), "v", (2,), time_input)
    return trained(METHODS["denoising"](), model, None, folder, 600, lr=2e-3, lr_schedule="cosine")
