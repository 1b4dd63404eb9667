"""The exact flow map of a Gaussian, and short trainings of jumping students on the toy."""

from copy import deepcopy

import torch
from accelerate import Accelerator
from torch import nn

from fastdiff.core.broadcast import like
from fastdiff.core.rng import SampleRng
from fastdiff.data.toys import mixture, toy
from fastdiff.evaluation.metrics.kernels import discrepancy, distance
from fastdiff.methods import Progress
from fastdiff.networks.oracle import GaussianMixture
from fastdiff.samplers.generate import sample
from fastdiff.training.loop import TrainConfig, Training
from tests.helpers.oracles import MIDDLE, batch_of, told

SIZE = 0.5  # of the Gaussian whose flow map is known


def average(t, r):
    """k of the exact average velocity u = k z of N(0, SIZE^2) from t to r, on the straight line:
    without 0 / 0 at r = t."""

    def std(t):
        return ((SIZE * (1 - t)) ** 2 + t**2).sqrt()

    return (SIZE**2 * (t + r - 2) + t + r) / (std(t) * (std(t) + std(r)))


def of_velocity(k, schedule):
    """A student whose average velocity is k(t, r) z, t and r on its own schedule; `tilt` makes it wrong."""
    tilt = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def clean(x, t, s):
        z = x / like(sum(schedule.alpha_sigma(t)), x)
        return z - like(schedule.straight(t) * (k(t, s) + tilt), x) * z

    model = told(clean, schedule, "v", (1,))
    model.net.tilt = tilt
    return model


def exact(schedule):
    return of_velocity(lambda t, s: average(schedule.straight(t), schedule.straight(s)), schedule)


def gaussian(schedule):
    return GaussianMixture(
        *(torch.tensor(v, dtype=torch.float64) for v in ([[0.0]], [SIZE], [1.0])), schedule
    )


def data(n, seed=0):
    return SIZE * SampleRng(seed ^ 0xDA7A, torch.arange(n)).normal((1,)).double()


def slopes(method, make, tilts=(0.0, 0.05, -0.05), n=4096, batches=16):
    """Mean gradient of the loss in the student's tilt, and how many of its standard errors that is."""
    found = []
    for tilt in tilts:
        student = make()
        with torch.no_grad():
            student.net.tilt.fill_(tilt)
        nets = {"student": student, "teacher": gaussian(student.schedule), "target": still(make, tilt)}
        each = [
            torch.autograd.grad(
                method.loss(("student",), nets, batch_of(data(n, seed), seed), MIDDLE)[0], student.net.tilt
            )[0]
            for seed in range(batches)
        ]
        each = torch.stack(each)
        found.append((each.mean(), each.mean() / (each.std() / batches**0.5)))
    return found


def still(make, tilt):
    """The running average of a student that does not move any more."""
    target = make().requires_grad_(False)
    target.net.tilt.fill_(tilt)
    return target


def trained(method, start, folder, steps=300, **settings):
    """The average of a student after some steps from a model."""
    student = method.student(deepcopy(start))
    student.sampling = method.sampling()
    config = TrainConfig(
        **{"steps": steps, "batch": 256, "lr": 1e-3, "ema": 0.98} | method.training | settings
    )
    teacher = GaussianMixture(*mixture(), start.schedule) if method.needs_teacher else None
    training = Training(
        method, Progress, student, teacher, toy(n=4000), config, folder, Accelerator(cpu=True)
    )
    for _ in training:
        pass
    return training.average


def energy(model, steps):
    return discrepancy(
        sample(model, "ddim", steps=steps, n=2000), toy(n=2000, seed=1).examples, distance
    ).value
