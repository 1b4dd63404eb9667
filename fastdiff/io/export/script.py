"""The script that samples an exported model by torch and diffusers alone."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from ...core.denoiser import TEXT, Denoiser
from ...core.guidance import usual_guidance
from ...networks.text_encoder import TELLS
from .pipeline import PROMPTED, begins_alike, call, pipeline_of
from .scheduler import Stock, stock

# Where the functions come from that networks are called with.
FUNCTIONS = {
    "get_timestep_embedding": "diffusers.models.embeddings",
    "interpolate": "torch.nn.functional",
    "pixel_shuffle": "torch.nn.functional",
    "pixel_unshuffle": "torch.nn.functional",
}


def script(model: Denoiser) -> tuple[str, str]:
    """The script, which leaves `images` of the seed 0; or "", and why there is none."""
    stages = cascade(model)
    walks = [walk(stage) for stage in stages]
    if why := next((found for found in walks if isinstance(found, str)), ""):
        return "", why
    pipeline = pipeline_of(model, walks[-1])
    if pipeline and begins_alike(model, walks[-1]):
        return rendered("pipeline.py.j2", pipeline=pipeline, call=call(model, walks[-1])), ""
    n = 4 if any(stage.text for stage in stages) else 16
    last = len(stages) - 1
    return "\n\n".join(
        loop(stage, found, n, "/".join(["base"] * (last - i)) or ".", last - i)
        for i, (stage, found) in enumerate(zip(stages, walks, strict=True))
    ), ""


def cascade(model: Denoiser) -> list[Denoiser]:
    """The model last, upon its base and what that stands on."""
    return [*(cascade(model.base) if model.base else []), model]


def walk(model: Denoiser) -> Stock | str:
    """The scheduler that samples it; or why diffusers alone does not."""
    if model.net.kind == "mlp":
        return f"The network is fastdiff's own, {type(model.net).__name__}, which diffusers does not know."
    if model.net.kind in PROMPTED.values() and not model.text:
        return "It is told of prompts, and comes without what embeds them."
    found = stock(model)
    return (
        f"By diffusers alone it is not sampled as it is meant to be: {found}."
        if isinstance(found, str)
        else found
    )


def rendered(name: str, **words: Any) -> str:
    """A template in these words."""
    from jinja2 import Environment, FileSystemLoader

    rooms = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True)
    return rooms.get_template(name).render(**words).strip()


def loop(model: Denoiser, found: Stock, n: int, folder: str, seed: int) -> str:
    """The loop around a scheduler that leaves n images; folder: the model's; seed: of its noise."""
    net = model.net
    step = steps(model, found)
    prompts, decoder = embedding(model), decoding(model)
    output = asked(model, found)
    classes = {
        "diffusers": [
            found.scheduler,
            type(net.module).__name__,
            decoder["autoencoder"],
            prompts["pipeline"],
        ],
        "transformers": prompts["encoders"].values(),
    }
    for name, place in FUNCTIONS.items():
        if re.search(rf"\b{name}\b", output) or name == "interpolate" and net.condition_channels:
            classes.setdefault(place, []).append(name)
    return rendered(
        "script.py.j2",
        n=n,
        folder=folder,
        seed=seed,
        stock=found,
        shape=model.shape,
        steps=model.sampling.steps,
        imports={
            place: ", ".join(sorted({*names} - {""}))
            for place, names in sorted(classes.items())
            if any(names)
        },
        place=net.folder,
        net=type(net.module).__name__,
        output=output,
        classes=net.num_classes,
        null=net.null_label,
        image=net.condition_channels,
        base=model.base,
        guidance=model.guidance and f"{usual_guidance(model):g}",
        prompts=prompts,
        **step,
        **decoder,
        options="".join(f", {option}" for option in found.options),
    )


def steps(model: Denoiser, found: Stock) -> dict[str, str]:
    """The words for what the loop walks over, and how far a step leads."""
    a, walked = found.clock[0], {"t": found.walked}
    landing = {"next": "s", "data": f"{found.end:.12g}", "eta": "int((1 - eta) * s)"}[found.landing]
    gap = (
        f"(times[t] - times[{landing}])"
        if found.times
        else f"{'' if a == 1 else f'{a:.12g} * '}(t - {landing})"
    )
    if model.two_times and found.landing != "data":
        walked["s"] = f"[*{found.walked}[1:], {found.end:.12g}]"
    if found.etas:
        walked["eta"] = "etas[steps]"
    return {
        "walk": f"{', '.join(walked)} in "
        + (found.walked if len(walked) == 1 else f"zip({', '.join(walked.values())})"),
        "gap": gap if model.two_times else "",
    }


def asked(model: Denoiser, found: Stock) -> str:
    """The lines that ask the network for its `output`."""
    net, (a, b) = model.net, found.clock
    time = "times[t]" if found.times else "t" if a == 1 else f"{a:.12g} * t"
    if b and not found.times:
        time = f"({time} {'-' if b < 0 else '+'} {abs(b):.12g})"
    told = {key: key for key in TELLS[model.text.kind] if key in TEXT} if model.text else {}
    if net.num_classes:
        told["label"] = "labels"
    elif model.two_times and not net.jumps:
        told["label"] = "gap"
    numbers = ["gap"] * net.jumps + ["100 * guidance * ones"] * net.guided
    lines = (
        [
            f"waves = [get_timestep_embedding(number, 16, downscale_freq_shift=0) for number in ({', '.join(numbers)},)]",
            "planes = [wave[:, :, None, None].expand(-1, -1, *x.shape[2:]) for wave in waves]",
        ]
        if numbers
        else []
    )
    parts = [found.inner, *["image"] * bool(net.condition_channels), *["*planes"] * bool(numbers)]
    inner = found.inner if len(parts) == 1 else f"torch.cat([{', '.join(parts)}], 1)"
    lines.append(net.spoken(inner, f"{time} * ones", told))
    return "\n".join([*lines, f"output = output[:, :{model.shape[0]}]"] if net.learned_variance else lines)


def embedding(model: Denoiser) -> dict[str, Any]:
    """The words that embed prompts: the pipeline whose code does, its parts, and what that gives."""
    text = model.text
    if text is None:
        return {"pipeline": "", "encoders": {}}
    parts = {name: said[1] for name, said in text.index.items() if isinstance(said, list)}
    return {
        "pipeline": text.kind,
        "encoders": parts,
        "left_out": ", ".join(f"{name}={value}" for name, value in text.left_out.items()),
        "given": ", ".join(key if key in TEXT else "_" for key in TELLS[text.kind]),
        "asked": "".join(f", {name}={value}" for name, value in text.asked(False).items()),
    }


def decoding(model: Denoiser) -> dict[str, str]:
    """The words that make images of latents."""
    if model.latent is None:
        return {"autoencoder": "", "decoded": "x"}
    own, (scale, shift) = "x", (written(number) for number in (model.latent.scale, model.latent.shift))
    own += (f" / {scale}" if scale != "1" else "") + (f" + {shift}" if shift != "0" else "")
    return {
        "autoencoder": type(model.latent.module).__name__,
        "drawer": model.latent.folder,
        "decoded": f"{model.latent.folder}.decode({own}).sample",
    }


def written(number: Tensor | float) -> str:
    """A number, or one a channel, in Python's words."""
    if isinstance(number, Tensor):
        return f"torch.tensor([{', '.join(map(written, number.flatten().tolist()))}]).view(-1, 1, 1)"
    return f"{number:.9g}"
