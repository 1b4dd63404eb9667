"""A tiny model, exported, and what stock pipelines of diffusers and our samplers draw of it."""

import torch

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.guidance import Guided
from fastdiff.core.schedule import Cosine
from fastdiff.networks import unet
from fastdiff.samplers import SAMPLERS, time_grid

SHAPE = (3, 8, 8)


WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


INDEX = "model_index.json"


def tiny(schedule=None, predicts="v", shape=SHAPE, classes=0, **options):
    torch.manual_seed(0)
    net = unet(shape, classes, channels=(8, 8), layers=1, groups=4)
    return Denoiser(net, schedule or Cosine(), predicts, shape, **options).eval()


def images(n=2, shape=SHAPE):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))


def draws():
    generator = torch.Generator().manual_seed(5)
    return lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)


@torch.no_grad()
def ours(model, sampler, steps, spacing="uniform", **options):
    *_, last = SAMPLERS[sampler](
        Guided(model), images(), time_grid(model.schedule, steps, spacing), **options
    )
    return last.x


@torch.no_grad()
def theirs(unet, scheduler, steps, **options):
    """The pipeline's own loop, from our noise and without its clamp."""
    scheduler.set_timesteps(steps)
    x = images()
    for t in scheduler.timesteps:
        x = scheduler.step(unet(x, t).sample, t, x, **options).prev_sample
    return x
