"""Tiny students, exported, and our samplers on the noise of their scripts."""

import inspect

import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.extra_inputs import with_guidance, with_second_time
from fastdiff.core.guidance import Guided
from fastdiff.core.sampling import Sampling
from fastdiff.networks import unet
from fastdiff.samplers.plan import plan

SHAPE, SEVERAL = (1, 8, 8), (4, 1, 2, 8)


EDM = {"sigma_data": 0.5, "scale_input": True}


def sampled(sampler="ddim", spacing="uniform", steps=(4, 1), **more):
    return Sampling(sampler, spacing, steps, **more)


def student(schedule, predicts, sampling, classes=0, two=False, learned=False, guided=False, **options):
    torch.manual_seed(0)
    net = unet(SHAPE, classes, channels=(8, 8), layers=1, groups=4, learned_variance=learned)
    model = Denoiser(net, schedule, predicts, SHAPE, sampling=sampling, **options)
    model = with_second_time(model) if two else model
    model = with_guidance(model, (1.0, 4.0)) if guided else model
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)  # what begins at zero is to matter
    return model.eval().requires_grad_(False)


@torch.no_grad()
def ours(model, noise, steps, generator, labels=None):
    """Our sampler on this noise; what it draws on the way, it draws of the generator."""
    way = plan(model, steps=steps)
    options = dict(way.sampler_options)
    if "randn" in inspect.signature(way.run).parameters:
        options["randn"] = lambda x: torch.randn(x.shape, generator=generator)
    denoise = Guided(
        model, None if labels is None else {"label": labels}, guidance=2.5 if model.guidance else 1.0
    )
    x = noise * float(model.schedule.alpha_sigma(way.times[0])[1])
    *_, last = way.run(denoise, x, way.times, **options)
    return last.x


def seeded(seed):
    return torch.Generator().manual_seed(seed)
