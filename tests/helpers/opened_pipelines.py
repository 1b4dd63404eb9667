"""Tiny pipelines opened by fastdiff, and our samplers on their noise and times."""

import numpy as np
import torch
from diffusers import LCMScheduler

from fastdiff.core.guidance import Guided
from fastdiff.io.load import load
from fastdiff.samplers import SAMPLERS
from fastdiff.samplers.conditions import conditions
from tests.helpers import tiny_pipelines as tiny

PROMPTS = ["a cat", "the dog runs"]


MAKERS = {
    "sd": tiny.stable_diffusion,
    "sdxl": tiny.sdxl,
    "lcm": lambda at: tiny.stable_diffusion(
        at, "LatentConsistencyModelPipeline", LCMScheduler(), time_cond_proj_dim=8
    ),
    "alpha": lambda at: tiny.pixart(),
    "sigma": lambda at: tiny.pixart("PixArtSigmaPipeline"),
    "sd3": tiny.sd3,
    "flux": tiny.flux,
    "schnell": lambda at: tiny.flux(at, guided=False),
    "dit": lambda at: tiny.dit(),
    "ldm": lambda at: tiny.ldm(),
    "cm": lambda at: tiny.consistency(classes=5),
    "pixels": lambda at: tiny.pixels(),
}


def opener(tmp_path_factory):
    """The function behind the fixture opened."""
    made = {}

    def get(name):
        if name not in made:
            torch.manual_seed(0)
            folder = tmp_path_factory.mktemp(name)
            pipeline = tiny.alive(MAKERS[name](folder / "tokens"))
            pipeline.save_pretrained(folder / "model")
            made[name] = pipeline, load(folder / "model"), folder / "model"
        return made[name]

    return get


def noise(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def ours(
    model,
    sampler,
    x,
    times,
    prompts=None,
    labels=None,
    guidance=1.0,
    randn=None,
    negative_prompts=None,
    **options,
):
    """Pictures in [0, 1] of our sampler from x at times[0]."""
    cond = conditions(model, len(x), labels, prompts, guidance=guidance, negative_prompts=negative_prompts)
    null = model.null(cond) if guidance != 1 and not model.guidance else None
    noise = {"randn": randn} if randn else {}
    *_, last = SAMPLERS[sampler](Guided(model, cond, null, guidance, **options), x, times, **noise)
    image = model.latent.decode(last.x) if model.latent else last.x
    return (image / 2 + 0.5).clamp(0, 1)


def table_times(pipeline):
    return torch.tensor([*(float(t) + 1 for t in pipeline.scheduler.timesteps), 0.0], dtype=torch.float64)


def same(images, wanted):
    wanted = torch.from_numpy(wanted).permute(0, 3, 1, 2) if isinstance(wanted, np.ndarray) else wanted
    assert (
        (wanted > 0.01) & (wanted < 0.99)
    ).float().mean() > 0.5 and wanted.std() > 0.02  # not all of it is clamped
    torch.testing.assert_close(images, wanted, rtol=0, atol=1e-4)
