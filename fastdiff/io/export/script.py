"""The script on a model card, which samples an exported model with torch and diffusers only."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from ...core.denoiser import PROMPT_KEYS, Denoiser
from ...core.guidance import usual_guidance
from ...core.templates import render
from ...networks.own import is_own
from ...networks.text_encoder import PROMPT_OUTPUTS
from .pipeline import PROMPT_PIPELINES, pipeline_arguments, pipeline_of, same_first_noise
from .schedulers.description import DiffusersScheduler
from .schedulers.match import matching_scheduler

TEMPLATES = Path(__file__).parent
# Functions that the scripts' network calls use -> their modules.
FUNCTIONS = {
    "get_timestep_embedding": "diffusers.models.embeddings",
    "interpolate": "torch.nn.functional",
    "pixel_shuffle": "torch.nn.functional",
    "pixel_unshuffle": "torch.nn.functional",
}


def script(model: Denoiser) -> tuple[str, str]:
    """Return a script that samples a model without fastdiff.

    Args:
        model: the model, as it is or will be exported.

    Returns:
        The script, which sets `images` from the seed 0, and ""; or "", and one line with the reason why
        diffusers cannot sample the model.
    """
    stages = cascade(model)
    schedulers = [stage_scheduler(stage) for stage in stages]
    if reasons := [reason for reason in schedulers if isinstance(reason, str)]:
        return "", reasons[0]
    last = schedulers[-1]
    pipeline = pipeline_of(model, last)
    if pipeline and same_first_noise(model, last):
        call = pipeline_arguments(model, last)
        return render(TEMPLATES / "pipeline.py.j2", pipeline=pipeline, call=call).strip(), ""
    n = 4 if any(stage.text for stage in stages) else 16
    loops = []
    for above, stage, scheduler in zip(range(len(stages) - 1, -1, -1), stages, schedulers, strict=True):
        folder = "/".join(["base"] * above) or "."
        loops.append(loop(stage, scheduler, n, folder, seed=above))
    return "\n\n".join(loops), ""


def cascade(model: Denoiser) -> list[Denoiser]:
    """Return the models of a cascade, from the lowest resolution to `model`."""
    return [*(cascade(model.base) if model.base else []), model]


def stage_scheduler(model: Denoiser) -> DiffusersScheduler | str:
    """Return the scheduler for one model of a cascade, or the reason why diffusers cannot sample it."""
    if is_own(model.net):
        return (
            f"A plugin registers the network, {model.net.blueprint.name}, which diffusers does not have: "
            "`fastdiff --plugin FILE sample FOLDER` samples the model."
        )
    if model.net.kind == "mlp":
        return f"The network is fastdiff's own, {type(model.net).__name__}, which diffusers does not have."
    if model.net.kind in PROMPT_PIPELINES.values() and not model.text:
        return "The network takes prompts, but the model has no text encoder."
    scheduler = matching_scheduler(model)
    if isinstance(scheduler, str):
        return f"diffusers cannot sample it in the intended way: {scheduler}."
    return scheduler


def loop(model: Denoiser, scheduler: DiffusersScheduler, n: int, folder: str, seed: int) -> str:
    """Return the script of one model: a sampling loop around a scheduler, which sets `images`.

    Args:
        model: the model to sample.
        scheduler: the scheduler that samples as the model does.
        n: number of images.
        folder: the model's folder, relative to the folder of the script.
        seed: seed of the first noise.
    """
    net = model.net
    prompts = prompt_words(model)
    decoder = decoder_words(model)
    output = network_call(model, scheduler)
    return render(
        TEMPLATES / "script.py.j2",
        n=n,
        folder=folder,
        seed=seed,
        scheduler=scheduler,
        shape=model.shape,
        steps=model.sampling.steps,
        imports=imports(model, scheduler, output, [decoder["autoencoder"]], prompts),
        place=net.folder,
        net=type(net.module).__name__,
        walk=loop_head(model, scheduler),
        gap=jump_length(model, scheduler) if model.two_times else "",
        output=output,
        classes=net.num_classes,
        null=net.null_label,
        image=net.condition_channels,
        base=model.base,
        guidance=f"{usual_guidance(model):g}" if model.guidance else "",
        prompts=prompts,
        options="".join(f", {option}" for option in scheduler.step_options),
        **decoder,
    ).strip()


def imports(
    model: Denoiser,
    scheduler: DiffusersScheduler,
    output: str,
    classes: list[str],
    prompts: dict[str, Any],
) -> dict[str, str]:
    """Return the imports of a script: module -> names, joined by commas.

    Args:
        model: the model to sample.
        scheduler: the scheduler that samples as the model does.
        output: the lines of the script that call the network.
        classes: further classes of diffusers; "" is ignored.
        prompts: the result of `prompt_words`.
    """
    names = {
        "diffusers": {scheduler.class_name, type(model.net.module).__name__, prompts["pipeline"], *classes},
        "transformers": set(prompts["encoders"].values()),
    }
    for function, module in FUNCTIONS.items():
        resized = function == "interpolate" and model.net.condition_channels
        if resized or re.search(rf"\b{function}\b", output):
            names.setdefault(module, set()).add(function)
    sorted_names = {module: sorted(names[module] - {""}) for module in sorted(names)}
    return {module: ", ".join(own) for module, own in sorted_names.items() if own}


def loop_head(model: Denoiser, scheduler: DiffusersScheduler) -> str:
    """Return the head of the loop over the steps, between `for` and the colon, as Python source."""
    sequences = {"t": scheduler.timesteps}
    if model.two_times and scheduler.landing != "data":
        sequences["s"] = f"[*{scheduler.timesteps}[1:], {scheduler.end:.12g}]"
    if scheduler.etas:
        sequences["eta"] = "etas[steps]"
    values = ", ".join(sequences.values())
    return f"{', '.join(sequences)} in " + (values if len(sequences) == 1 else f"zip({values})")


def jump_length(model: Denoiser, scheduler: DiffusersScheduler) -> str:
    """Return the length of a step in the network's time, as Python source."""
    landing = {"next": "s", "data": f"{scheduler.end:.12g}", "eta": "int((1 - eta) * s)"}[scheduler.landing]
    if scheduler.times:
        return f"(times[t] - times[{landing}])"
    a, _ = scheduler.clock
    return f"(t - {landing})" if a == 1 else f"{a:.12g} * (t - {landing})"


def network_time(scheduler: DiffusersScheduler) -> str:
    """Return the network's time at the scheduler's time t, as Python source."""
    if scheduler.times:
        return "times[t]"
    a, b = scheduler.clock
    time = "t" if a == 1 else f"{a:.12g} * t"
    if not b:
        return time
    return f"({time} {'-' if b < 0 else '+'} {abs(b):.12g})"


def network_call(model: Denoiser, scheduler: DiffusersScheduler) -> str:
    """Return the lines that call the network and set `output`, as Python source."""
    net = model.net
    conditions = (
        {key: key for key in PROMPT_OUTPUTS[model.text.kind] if key in PROMPT_KEYS} if model.text else {}
    )
    if net.num_classes:
        conditions["label"] = "labels"
    elif model.two_times and not net.jumps:
        conditions["label"] = "gap"
    numbers = []  # scalar inputs, which the network takes as additional channels
    if net.jumps:
        numbers.append("gap")
    if net.guided:
        numbers.append("100 * guidance * ones")
    channels = [scheduler.network_input]
    lines = []
    if net.condition_channels:
        channels.append("image")
    if numbers:
        channels.append("*planes")
        lines += [
            "waves = [get_timestep_embedding(number, 16, downscale_freq_shift=0) for number in "
            f"({', '.join(numbers)},)]",
            "planes = [wave[:, :, None, None].expand(-1, -1, *x.shape[2:]) for wave in waves]",
        ]
    x = channels[0] if len(channels) == 1 else f"torch.cat([{', '.join(channels)}], 1)"
    lines.append(net.to_source(x, f"{network_time(scheduler)} * ones", conditions))
    if net.learned_variance:
        lines.append(f"output = output[:, :{model.shape[0]}]")
    return "\n".join(lines)


def prompt_words(model: Denoiser) -> dict[str, Any]:
    """Return the template's values for embedding prompts.

    They are the pipeline whose `encode_prompt` is called, its components, and the values that it returns.
    """
    text = model.text
    if text is None:
        return {"pipeline": "", "encoders": {}}
    parts = {name: entry[1] for name, entry in text.index.items() if isinstance(entry, list)}
    return {
        "pipeline": text.kind,
        "encoders": parts,
        "left_out": ", ".join(f"{name}={value}" for name, value in text.left_out.items()),
        "returned": ", ".join(key if key in PROMPT_KEYS else "_" for key in PROMPT_OUTPUTS[text.kind]),
        "arguments": "".join(f", {name}={value}" for name, value in text.encode_prompt_kwargs(False).items()),
    }


def decoder_words(model: Denoiser) -> dict[str, str]:
    """Return the template's values for decoding latents: the autoencoder's class and name, and the result."""
    latent = model.latent
    if latent is None:
        return {"autoencoder": "", "decoder": "", "decoded": "x"}
    x = "x"
    scale = in_words(latent.scale)
    shift = in_words(latent.shift)
    if scale != "1":
        x += f" / {scale}"
    if shift != "0":
        x += f" + {shift}"
    return {
        "autoencoder": type(latent.module).__name__,
        "decoder": latent.folder,
        "decoded": f"{latent.folder}.decode({x}).sample",
    }


def in_words(number: Tensor | float) -> str:
    """Return a number, or one number per channel, as Python source."""
    if isinstance(number, Tensor):
        return f"torch.tensor([{', '.join(map(in_words, number.flatten().tolist()))}]).view(-1, 1, 1)"
    return f"{number:.9g}"
