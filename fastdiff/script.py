"""The script that samples an exported model by torch and diffusers alone."""

from pathlib import Path
from typing import Any

from torch import Tensor

from .denoiser import Denoiser
from .guidance import usual_guidance
from .samplers import time_grid
from .schedulers import Stock, stock

# The pipelines that call a plain UNet2DModel and one of these schedulers as a loop of ours would.
PIPELINES = {"DDIMScheduler": "DDIMPipeline", "DDPMScheduler": "DDPMPipeline", "LCMScheduler": "DDPMPipeline",
             "CMStochasticIterativeScheduler": "ConsistencyModelPipeline"}
# Those with prompts, which call a scheduler of levels; the others call one of a table.
FLOWS = ("StableDiffusion3Pipeline", "FluxPipeline")
PIXART = ("PixArtAlphaPipeline", "PixArtSigmaPipeline")


def script(model: Denoiser) -> tuple[str, str]:
    """The script, which leaves `images` of the seed 0; or "", and why there is none."""
    if model.net.kind == "mlp":
        return "", f"The network is fastdiff's own, {type(model.net).__name__}, which diffusers does not know."
    if model.base or model.net.image:
        return "", "It works upon an image, which is to be made first: by diffusers alone there is no script for it."
    found = stock(model)
    if isinstance(found, str):
        return "", f"By diffusers alone it is not sampled as it is meant to be: {found}."
    pipeline = pipeline_of(model, found)
    if model.text and not pipeline:
        return "", f"By diffusers alone it is not sampled as it is meant to be: no pipeline calls {found.scheduler} so."
    from jinja2 import Environment, FileSystemLoader

    rooms = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True)
    words = call(model, found) if pipeline and (model.text or begins_alike(model, found)) else None
    return rooms.get_template("script.py.j2").render(
        stock=found, pipeline=pipeline, call=words, shape=model.shape, steps=model.sampling.steps,
        **loop(model, found)).strip(), ""


def call(model: Denoiser, found: Stock) -> str:
    """What the stock pipeline is called with."""
    steps, prompted = model.sampling.steps[0], bool(model.text)
    if found.scheduler.startswith("CM"):
        listed = f"num_inference_steps=None, timesteps={found.grids[steps]}"
    elif found.scheduler.startswith("Flow"):                       # whose own grid ends before it should
        listed = f"sigmas={found.grids.get(steps) or [1 - i / steps for i in range(steps)]}"
    else:
        listed = f"timesteps={found.grids[steps]}" if found.grids else f"num_inference_steps={steps}"
    if not prompted:
        return f"16, {listed}"
    _, height, width = model.image_shape
    sigma, plain = highest(model), ", use_resolution_binning=False, clean_caption=False" * (model.text.kind in PIXART)
    noise = f", latents={sigma:.9g} * torch.randn({', '.join(map(str, (4, *model.shape)))}, generator=generator)"
    return (f'["a cat"] * 4, {listed}, guidance_scale={usual_guidance(model):g}, height={height}, width={width}{plain}'
            f"{noise if abs(sigma - 1) > 1e-6 else ''}")


def loop(model: Denoiser, found: Stock) -> dict[str, Any]:
    """The words of the loop: what it walks over, what the network is given, and what becomes of the last x."""
    net, (a, b) = model.net, found.clock
    walked, time = {"t": found.walked}, "times[t]" if found.times else "t" if a == 1 else f"{a:.12g} * t"
    if b and not found.times:
        time += f" {'-' if b < 0 else '+'} {abs(b):.12g}"
    landing = {"next": "s", "data": f"{found.end:.12g}", "eta": "int((1 - eta) * s)"}[found.landing]
    gap = f"times[t] - times[{landing}]" if found.times else f"{'' if a == 1 else f'{a:.12g} * '}(t - {landing})"
    if model.two_times and found.landing != "data":
        walked["s"] = f"[*{found.walked}[1:], {found.end:.12g}]"
    if found.etas:
        walked["eta"] = "etas[steps]"
    embedded = model.two_times and not net.jumps
    said = ["gap"] * (model.two_times and net.jumps) + ["torch.full((len(x),), 100.0 * guidance)"] * bool(model.guidance)
    classes = net.classes_known
    told = "gap" if embedded else "labels" if classes else "torch.zeros(len(x)).long()" if net.kind == "dit" else ""
    return {
        "walk": f"{', '.join(walked)} in " + (found.walked if len(walked) == 1 else f"zip({', '.join(walked.values())})"),
        "gap": gap if model.two_times else "", "said": said,
        "time": f"({time}).expand(len(x))" if net.kind == "dit" else time,         # UNet2DModel takes a single one too
        "inner": f"torch.cat([{found.inner}, *planes], 1)" if said else found.inner,
        "told": told, "guidance": model.guidance and f"{usual_guidance(model):g}",
        "options": "".join(f", {option}" for option in found.options),
        "net": type(net.module).__name__, "place": net.folder, "classes": classes, "null": net.null_label,
        "learned": net.learned_variance, **decoding(model)}


def decoding(model: Denoiser) -> dict[str, str]:
    """The words that make images of latents."""
    if model.latent is None:
        return {"decoder": "", "decoded": "x"}
    own, (scale, shift) = "x", (written(number) for number in (model.latent.scale, model.latent.shift))
    own += (f" / {scale}" if scale != "1" else "") + (f" + {shift}" if shift != "0" else "")
    return {"decoder": type(model.latent.module).__name__, "drawer": model.latent.folder,
            "decoded": f"decoder.decode({own}).sample"}


def written(number: Tensor | float) -> str:
    """A number, or one a channel, in Python's words."""
    return f"torch.tensor({number.tolist()})" if isinstance(number, Tensor) else f"{number:.9g}"


def pipeline_of(model: Denoiser, found: Stock) -> str | None:
    """The stock pipeline that samples as the scheduler's loop does, but for the size of the noise that it begins with."""
    net, kind = model.net, found.scheduler
    noisy = any(option.startswith("eta") for option in found.options)
    if net.classes_known or model.two_times or found.times or found.factor != 1 or found.clock != (1, 0) or noisy:
        return None
    if model.text:
        flows, learned = model.text.kind in FLOWS, net.learned_variance and model.text.kind not in PIXART
        fits = kind == "FlowMatchEulerDiscreteScheduler" and not found.noisy if flows else kind in PIPELINES
        return model.text.kind if fits and model.latent and found.inner == "x" and not learned else None
    if net.kind != "unet" or model.latent or model.guidance:
        return None
    if kind.startswith("CM"):
        return PIPELINES[kind] if model.scale_input and model.shape[1] == model.shape[2] else None
    return PIPELINES.get(kind) if found.inner == "x" and not found.grids else None


def begins_alike(model: Denoiser, found: Stock) -> bool:
    """Whether the pipeline's first noise is ours, and its network's output the scheduler's."""
    return not model.net.learned_variance and (found.scheduler.startswith("CM") or abs(highest(model) - 1) < 1e-5)


def highest(model: Denoiser) -> float:
    """sigma where the model's own grids begin."""
    own = model.sampling
    first = time_grid(model.schedule, own.steps[0], own.spacing_for(own.steps[0]))[0]
    return float(model.schedule.alpha_sigma(first)[1])
