"""The script that samples an exported model by torch and diffusers alone."""

from pathlib import Path
from typing import Any

import torch

from .denoiser import Denoiser
from .schedulers import Stock, stock

# The pipelines that call a plain UNet2DModel and one of these schedulers as a loop of ours would.
PIPELINES = {"DDIMScheduler": "DDIMPipeline", "DDPMScheduler": "DDPMPipeline", "LCMScheduler": "DDPMPipeline",
             "CMStochasticIterativeScheduler": "ConsistencyModelPipeline"}


def script(model: Denoiser) -> tuple[str, str]:
    """The script, which leaves `images` of the seed 0; or "", and why there is none."""
    if model.net.kind != "unet":
        return "", f"The network is fastdiff's own, {type(model.net).__name__}, which diffusers does not know."
    found = stock(model)
    if isinstance(found, str):
        return "", f"By diffusers alone it is not sampled as it is meant to be: {found}."
    from jinja2 import Environment, FileSystemLoader

    pipeline = pipeline_of(model, found)
    rooms = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True)
    return rooms.get_template("script.py.j2").render(
        stock=found, pipeline=pipeline if pipeline and begins_alike(model, found) else None, shape=model.shape,
        steps=model.sampling.steps, classes=model.net.null_label, learned=model.net.learned_variance,
        **loop(model, found)).strip(), ""


def loop(model: Denoiser, found: Stock) -> dict[str, Any]:
    """The words of the loop: what it walks over, and what the network is given."""
    a, b = found.clock
    walked, time = {"t": found.walked}, "times[t]" if found.times else "t" if a == 1 else f"{a:.12g} * t"
    if b and not found.times:
        time += f" {'-' if b < 0 else '+'} {abs(b):.12g}"
    landing = {"next": "s", "data": f"{found.end:.12g}", "eta": "int((1 - eta) * s)"}[found.landing]
    gap = f"times[t] - times[{landing}]" if found.times else f"{'' if a == 1 else f'{a:.12g} * '}(t - {landing})"
    if model.two_times and found.landing != "data":
        walked["s"] = f"[*{found.walked}[1:], {found.end:.12g}]"
    if found.etas:
        walked["eta"] = "etas[steps]"
    embedded = model.two_times and model.net.embedded and model.net.null_label is None
    said = ["gap"] * (model.two_times and not embedded) + ["torch.full((len(x),), 100.0 * guidance)"] * bool(model.guidance)
    return {
        "walk": f"{', '.join(walked)} in " + (found.walked if len(walked) == 1 else f"zip({', '.join(walked.values())})"),
        "gap": gap if model.two_times else "", "said": said, "time": time,
        "inner": f"torch.cat([{found.inner}, *planes], 1)" if said else found.inner,
        "told": "gap" if embedded else "labels" if model.net.null_label is not None else "",
        "guidance": model.guidance and f"{model.guidance[0]:g}",
        "options": "".join(f", {option}" for option in found.options)}


def pipeline_of(model: Denoiser, found: Stock) -> str | None:
    """The stock pipeline that samples as the scheduler's loop does, but for the size of the noise that it begins with."""
    if model.net.null_label is not None or model.two_times or model.guidance or found.times or found.factor != 1:
        return None
    if found.scheduler.startswith("CM"):
        alike = model.scale_input and model.shape[1] == model.shape[2]
    else:
        alike = found.inner == "x" and not found.grids and not any(option.startswith("eta") for option in found.options)
    return PIPELINES.get(found.scheduler) if alike and found.clock == (1, 0) else None


def begins_alike(model: Denoiser, found: Stock) -> bool:
    """Whether the pipeline's first noise is ours, and its network's output the scheduler's."""
    sigma = float(model.schedule.alpha_sigma(torch.tensor(model.schedule.t_max, dtype=torch.float64))[1])
    return not model.net.learned_variance and (found.scheduler.startswith("CM") or abs(sigma - 1) < 1e-5)
