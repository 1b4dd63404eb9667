"""The stock pipeline of diffusers that samples as a model does: its choice, its call, and its files."""

import inspect
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from ...core.denoiser import Denoiser
from ...core.files import write_json
from ...core.guidance import usual_guidance
from ...samplers import time_grid
from ..diffusers_names import INDEX_FILE
from .schedulers.description import DiffusersScheduler
from .schedulers.match import matching_scheduler

# Scheduler -> the pipeline that calls it and a plain UNet2DModel in the same way as the script of a card.
PIPELINES = {
    "DDIMScheduler": "DDIMPipeline",
    "DDPMScheduler": "DDPMPipeline",
    "LCMScheduler": "DDPMPipeline",
    "CMStochasticIterativeScheduler": "ConsistencyModelPipeline",
}
TABLE_SCHEDULERS = ("DDIMScheduler", "DDPMScheduler", "LCMScheduler", "TCDScheduler")
EULER_SCHEDULER = "FlowMatchEulerDiscreteScheduler"
# Pipelines with prompts and their kinds of networks. FLOW_PIPELINES use EULER_SCHEDULER, the others one of
# TABLE_SCHEDULERS.
SD = "StableDiffusionPipeline"
SDXL = "StableDiffusionXLPipeline"
LCM = "LatentConsistencyModelPipeline"
FLOW_PIPELINES = {"StableDiffusion3Pipeline": "sd3", "FluxPipeline": "flux"}
PIXART = {"PixArtAlphaPipeline": "pixart", "PixArtSigmaPipeline": "pixart"}
PROMPT_PIPELINES = {SD: "text_unet", SDXL: "text_unet", LCM: "text_unet", **PIXART, **FLOW_PIPELINES}
SIDE_MULTIPLE = 8  # sides of images are multiples of it, except in FLOW_PIPELINES
DIT_CLASSES = 1000  # number of classes of a DiTPipeline; the next label is the null class


def pipeline_of(model: Denoiser, scheduler: DiffusersScheduler) -> str | None:
    """Return the name of the stock pipeline that samples as the scheduler's loop does, from any noise.

    None if there is no such pipeline.
    """
    net = model.net
    conditioned = model.two_times or net.guided or net.condition_channels or model.base
    eta = any(option.startswith("eta") and option != "eta=0.0" for option in scheduler.step_options)
    translated = scheduler.times or scheduler.output_factor != 1 or scheduler.clock != (1, 0)
    if conditioned or eta or translated:
        return None
    if model.text:
        return prompted_pipeline(model, scheduler)
    return dit_pipeline(model, scheduler) if net.kind == "dit" else unet_pipeline(model, scheduler)


def unet_pipeline(model: Denoiser, scheduler: DiffusersScheduler) -> str | None:
    """Return the name of the pipeline for a UNet2DModel, or None."""
    name = scheduler.class_name
    if model.net.kind != "unet" or model.net.num_classes:
        return None
    square = model.shape[1] == model.shape[2]
    if name.startswith("CM"):
        return PIPELINES[name] if model.scale_input and square and not model.latent else None
    if scheduler.network_input != "x" or scheduler.grids:
        return None
    if model.latent is None:
        return PIPELINES.get(name)
    plain = name == "DDIMScheduler" and square and not model.net.learned_variance
    fits = plain and model.latent.folder == "vqvae" and decodes(model, "LDMPipeline")
    return "LDMPipeline" if fits else None


def dit_pipeline(model: Denoiser, scheduler: DiffusersScheduler) -> str | None:
    """Return the name of the pipeline for a DiT, or None."""
    ddim = scheduler.class_name == "DDIMScheduler"
    plain = ddim and scheduler.network_input == "x" and not scheduler.grids
    fits = plain and model.net.num_classes == DIT_CLASSES and model.latent and model.latent.folder == "vae"
    return "DiTPipeline" if fits and decodes(model, "DiTPipeline") else None


def prompted_pipeline(model: Denoiser, scheduler: DiffusersScheduler) -> str | None:
    """Return the name of the pipeline for latents and prompts, or None."""
    net = model.net
    name = model.text.kind
    if name == LCM and not (model.guidance and scheduler.class_name == "LCMScheduler"):
        name = SD  # differs only in its scheduler
    if name in FLOW_PIPELINES:
        called = scheduler.class_name == EULER_SCHEDULER and not scheduler.draws_noise
    else:
        called = scheduler.class_name in TABLE_SCHEDULERS
    if not called or PROMPT_PIPELINES[name] != net.kind or scheduler.network_input != "x":
        return None
    if net.learned_variance and name not in PIXART:
        return None
    if net.kind == "text_unet":
        pooled = net.module.config.addition_embed_type is not None
        if net.num_classes or pooled != (name == SDXL):
            return None
    if not model.latent or model.latent.folder != "vae":
        return None
    if name not in FLOW_PIPELINES and any(side % SIDE_MULTIPLE for side in model.image_shape[1:]):
        return None
    return name if decodes(model, name) else None


def decodes(model: Denoiser, name: str) -> bool:
    """Return whether a pipeline decodes latents as the model's own autoencoder does."""
    latent = model.latent
    if isinstance(latent.scale, Tensor):
        return name == SDXL and len(latent.scale) == 4
    return (
        latent.module.config.get("shift_factor") is not None if name in FLOW_PIPELINES else latent.shift == 0
    )


def same_first_noise(model: Denoiser, scheduler: DiffusersScheduler) -> bool:
    """Return whether the stock pipeline can start from the model's first noise, so that a script may call it.

    The pipeline draws that noise itself or takes it as an argument. The network's output also has to be what
    the scheduler takes.
    """
    same = scheduler.class_name.startswith("CM") or abs(first_sigma(model) - 1) < 1e-5
    if model.text:
        return same or model.net.kind != "flux"  # Flux packs its noise
    return same and not (model.net.learned_variance and model.net.kind == "unet")


def first_sigma(model: Denoiser) -> float:
    """Return sigma at the first time of the model's default grid."""
    own = model.sampling
    steps = own.steps[0]
    first = time_grid(model.schedule, steps, own.spacing_for(steps))[0]
    return float(model.schedule.alpha_sigma(first)[1])


def pipeline_arguments(model: Denoiser, scheduler: DiffusersScheduler) -> str:
    """Return the arguments of the stock pipeline's call, as Python source."""
    steps = model.sampling.steps[0]
    grid = scheduler.grids.get(steps)
    if scheduler.class_name.startswith("CM"):
        grid_argument = f"num_inference_steps=None, timesteps={grid}"
    elif scheduler.class_name.startswith("Flow"):  # its default grid ends too early
        grid_argument = f"sigmas={grid or [1 - i / steps for i in range(steps)]}"
    elif scheduler.grids:
        grid_argument = f"timesteps={grid}"
    else:
        grid_argument = f"num_inference_steps={steps}"
    if model.text:
        return prompted_arguments(model, grid_argument)
    if model.net.kind == "dit":
        return f"list(range(16)), guidance_scale=1, {grid_argument}"
    return f"16, {grid_argument}"


def prompted_arguments(model: Denoiser, grid_argument: str) -> str:
    """Return the arguments of the call of a pipeline with prompts, as Python source."""
    _, height, width = model.image_shape
    arguments = [
        '["a cat"] * 4',
        grid_argument,
        f"guidance_scale={usual_guidance(model):g}",
        f"height={height}",
        f"width={width}",
    ]
    if model.text.kind in PIXART:
        arguments += ["use_resolution_binning=False", "clean_caption=False"]
    sigma = first_sigma(model)
    if abs(sigma - 1) > 1e-6:
        sizes = ", ".join(map(str, (4, *model.shape)))
        arguments.append(f"latents={sigma:.9g} * torch.randn({sizes}, generator=generator)")
    return ", ".join(arguments)


def write_pipeline(folder: Path, model: Denoiser) -> None:
    """Write the scheduler that samples as the model does, and model_index.json if a stock pipeline calls it.

    If no scheduler of diffusers does, nothing is written, and only fastdiff.json describes the model.
    """
    import diffusers

    scheduler = matching_scheduler(model)
    if isinstance(scheduler, str):
        return
    pipeline = pipeline_of(model, scheduler)
    name = scheduler.class_name
    config = scheduler.config
    if model.net.learned_variance and name == "DDIMScheduler" and model.net.kind == "unet":
        # DDPMScheduler uses the learned variance, DDIMScheduler does not
        name = "DDPMScheduler"
        config = {**config, "variance_type": "learned_range"}
        pipeline = "DDPMPipeline" if pipeline else None
    getattr(diffusers, name)(**config).save_pretrained(folder / "scheduler")
    if pipeline:
        write_json(folder / INDEX_FILE, pipeline_index(model, pipeline, name))


def pipeline_index(model: Denoiser, pipeline: str, scheduler: str) -> dict[str, Any]:
    """Return the contents of model_index.json for a stock pipeline of the model's parts and a scheduler."""
    import diffusers

    parts = [model.net, model.latent] if model.latent else [model.net]
    index: dict[str, Any] = {part.folder: ["diffusers", type(part.module).__name__] for part in parts}
    index["scheduler"] = ["diffusers", scheduler]
    if model.text:
        index.update(model.text.index)
    parameters = inspect.signature(getattr(diffusers, pipeline).__init__).parameters
    required = [name for name, p in parameters.items() if p.default is p.empty and name != "self"]
    absent: dict[str, Any] = {name: [None, None] for name in required if name not in index}
    if "requires_safety_checker" in parameters:
        absent["requires_safety_checker"] = False
    own = {"_class_name": pipeline, "_diffusers_version": diffusers.__version__}
    return {**absent, **index, **own}


def remove_pipeline(folder: Path) -> None:
    """Delete the files that `write_pipeline` writes."""
    (folder / INDEX_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / "scheduler", ignore_errors=True)
