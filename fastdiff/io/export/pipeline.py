"""Stock pipelines of diffusers: which samples as a model does, how it is called, and what its folder says."""

import inspect
import shutil
from pathlib import Path

from torch import Tensor

from ...core.denoiser import Denoiser
from ...core.files import write_json
from ...core.guidance import usual_guidance
from ...samplers import time_grid
from ..diffusers_names import INDEX
from .scheduler import Stock, stock

# The pipelines that call a plain UNet2DModel and one of these schedulers as a loop of ours would.
PIPELINES = {
    "DDIMScheduler": "DDIMPipeline",
    "DDPMScheduler": "DDPMPipeline",
    "LCMScheduler": "DDPMPipeline",
    "CMStochasticIterativeScheduler": "ConsistencyModelPipeline",
}
TABLES = ("DDIMScheduler", "DDPMScheduler", "LCMScheduler", "TCDScheduler")
# Those with prompts, which call one of TABLES, and the networks that each calls; flows call a scheduler of
# levels.
SD, SDXL, LCM = "StableDiffusionPipeline", "StableDiffusionXLPipeline", "LatentConsistencyModelPipeline"
FLOWS = {"StableDiffusion3Pipeline": "sd3", "FluxPipeline": "flux"}
PIXART = {"PixArtAlphaPipeline": "pixart", "PixArtSigmaPipeline": "pixart"}
PROMPTED = {SD: "text_unet", SDXL: "text_unet", LCM: "text_unet"} | PIXART | FLOWS
SIDE = 8  # whose multiples these take for pictures, but for flows
CLASSES = 1000  # of a DiTPipeline, whose null class is the next


def pipeline_of(model: Denoiser, found: Stock) -> str | None:
    """The stock pipeline that samples as the scheduler's loop does, but for the size of the noise that it begins with."""
    net, drawn = model.net, any(option.startswith("eta") and option != "eta=0.0" for option in found.options)
    beyond = model.two_times or net.guided or net.condition_channels or model.base
    if beyond or drawn or found.times or found.factor != 1 or found.clock != (1, 0):
        return None
    kind = prompted if model.text else by_class if net.kind == "dit" else unconditional
    return kind(model, found)


def unconditional(model: Denoiser, found: Stock) -> str | None:
    """Of a UNet2DModel."""
    if model.net.kind != "unet" or model.net.num_classes:
        return None
    square = model.shape[1] == model.shape[2]
    if found.scheduler.startswith("CM"):
        return PIPELINES[found.scheduler] if model.scale_input and square and not model.latent else None
    if found.inner != "x" or found.grids:
        return None
    if model.latent is None:
        return PIPELINES.get(found.scheduler)
    plain = found.scheduler == "DDIMScheduler" and square and not model.net.learned_variance
    return (
        "LDMPipeline" if plain and model.latent.folder == "vqvae" and decodes(model, "LDMPipeline") else None
    )


def by_class(model: Denoiser, found: Stock) -> str | None:
    """Of a DiT."""
    plain = found.scheduler == "DDIMScheduler" and found.inner == "x" and not found.grids
    fits = plain and model.net.num_classes == CLASSES and model.latent and model.latent.folder == "vae"
    return "DiTPipeline" if fits and decodes(model, "DiTPipeline") else None


def prompted(model: Denoiser, found: Stock) -> str | None:
    """Of latents and prompts."""
    net, name = model.net, model.text.kind
    if name == LCM and not (model.guidance and found.scheduler == "LCMScheduler"):
        name = SD  # the same but for what it calls
    euler = found.scheduler == "FlowMatchEulerDiscreteScheduler" and not found.noisy
    walks = euler if name in FLOWS else found.scheduler in TABLES
    if (
        not walks
        or PROMPTED[name] != net.kind
        or found.inner != "x"
        or net.learned_variance
        and name not in PIXART
    ):
        return None
    if net.kind == "text_unet" and (
        net.num_classes or (net.module.config.addition_embed_type is None) == (name == SDXL)
    ):
        return None
    fits = (
        model.latent
        and model.latent.folder == "vae"
        and (name in FLOWS or not any(side % SIDE for side in model.image_shape[1:]))
    )
    return name if fits and decodes(model, name) else None


def decodes(model: Denoiser, name: str) -> bool:
    """Whether a pipeline makes of latents what the model's own autoencoder does."""
    latent = model.latent
    if isinstance(latent.scale, Tensor):
        return name == SDXL and len(latent.scale) == 4
    return latent.module.config.get("shift_factor") is not None if name in FLOWS else latent.shift == 0


def begins_alike(model: Denoiser, found: Stock) -> bool:
    """Whether the pipeline's first noise is ours or may be given to it, and its network's output the scheduler's."""
    alike = found.scheduler.startswith("CM") or abs(highest(model) - 1) < 1e-5
    if model.text:
        return alike or model.net.kind != "flux"  # whose own is packed
    return alike and not (model.net.learned_variance and model.net.kind == "unet")


def highest(model: Denoiser) -> float:
    """sigma where the model's own grids begin."""
    own = model.sampling
    first = time_grid(model.schedule, own.steps[0], own.spacing_for(own.steps[0]))[0]
    return float(model.schedule.alpha_sigma(first)[1])


def call(model: Denoiser, found: Stock) -> str:
    """What the stock pipeline is called with."""
    steps = model.sampling.steps[0]
    if found.scheduler.startswith("CM"):
        listed = f"num_inference_steps=None, timesteps={found.grids[steps]}"
    elif found.scheduler.startswith("Flow"):  # whose own grid ends before it should
        listed = f"sigmas={found.grids.get(steps) or [1 - i / steps for i in range(steps)]}"
    else:
        listed = f"timesteps={found.grids[steps]}" if found.grids else f"num_inference_steps={steps}"
    if not model.text:
        return f"list(range(16)), guidance_scale=1, {listed}" if model.net.kind == "dit" else f"16, {listed}"
    _, height, width = model.image_shape
    sigma, plain = (
        highest(model),
        ", use_resolution_binning=False, clean_caption=False" * (model.text.kind in PIXART),
    )
    noise = (
        f", latents={sigma:.9g} * torch.randn({', '.join(map(str, (4, *model.shape)))}, generator=generator)"
    )
    return (
        f'["a cat"] * 4, {listed}, guidance_scale={usual_guidance(model):g}, height={height}, width={width}{plain}'
        f"{noise if abs(sigma - 1) > 1e-6 else ''}"
    )


def write_pipeline(folder: Path, model: Denoiser) -> None:
    """The scheduler of diffusers that samples as the model does; model_index.json where a stock pipeline calls it so."""
    import diffusers

    found = stock(model)
    if isinstance(found, str):
        return  # fastdiff.json alone describes it
    pipeline, config, kind = pipeline_of(model, found), found.config, found.scheduler
    if (
        model.net.learned_variance and kind == "DDIMScheduler" and model.net.kind == "unet"
    ):  # which reads all but that
        pipeline, config, kind = (
            pipeline and "DDPMPipeline",
            config | {"variance_type": "learned_range"},
            "DDPMScheduler",
        )
    getattr(diffusers, kind)(**config).save_pretrained(folder / "scheduler")
    if pipeline:
        parts = [model.net, *([model.latent] if model.latent else [])]
        index = {part.folder: ["diffusers", type(part.module).__name__] for part in parts}
        index |= {"scheduler": ["diffusers", kind], **(model.text.index if model.text else {})}
        known = inspect.signature(getattr(diffusers, pipeline).__init__).parameters
        absent = {
            name: [None, None]
            for name, p in known.items()
            if p.default is p.empty and name not in (*index, "self")
        }
        absent |= {"requires_safety_checker": False} if "requires_safety_checker" in known else {}
        write_json(
            folder / INDEX,
            absent | index | {"_class_name": pipeline, "_diffusers_version": diffusers.__version__},
        )


def no_pipeline(folder: Path) -> None:
    """Remove what `write_pipeline` writes."""
    (folder / INDEX).unlink(missing_ok=True)
    shutil.rmtree(folder / "scheduler", ignore_errors=True)
