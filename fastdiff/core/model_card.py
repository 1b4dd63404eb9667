"""The card of a model: what `print(model)` shows."""

from typing import TYPE_CHECKING

from .network import network_name

if TYPE_CHECKING:
    from .denoiser import Denoiser


def model_card(model: "Denoiser") -> str:
    """Return a model's network, size, schedule, parameterization and sampling in at most 8 lines."""
    net = getattr(model.net, "_orig_mod", model.net)  # the network itself if it is compiled
    lines = [
        f"{type(model).__name__} of {network_name(net)}, {parameter_count(model):,} parameters",
        f"schedule: {model.schedule}",
        f"predicts: {model.predicts}, from the time input {model.time_input}",
        f"sample shape: {sample_shape(model)}",
    ]
    if inputs := further_inputs(model):
        lines.append(f"further inputs: {', '.join(inputs)}")
    sampling = model.sampling
    steps = " or ".join(map(str, sampling.steps))
    unit = "step" if sampling.steps == (1,) else "steps"
    bound = ", no others" if sampling.only else ""
    way = f"{sampling.sampler} at {steps} {unit}{bound}, spacing {sampling.spacing}"
    lines.append(f"sampler: {'; '.join([way, *sampling.remarks])}")
    return "\n  ".join(lines)


def parameter_count(model: "Denoiser") -> int:
    """Return the number of a network's parameters."""
    return sum(parameter.numel() for parameter in model.net.parameters())


def sample_shape(model: "Denoiser") -> str:
    """Return the shape of a sample as text, with that of the decoded image for a model of latents."""
    if model.shape is None:
        return "unknown"
    shape = tuple(model.shape)
    return f"{shape}, decoded to {tuple(model.image_shape)}" if model.latent else f"{shape}"


def further_inputs(model: "Denoiser") -> list[str]:
    """Return the inputs of a network apart from x and t, in words."""
    inputs = []
    if model.classes:
        inputs.append(f"{model.classes} classes")
    if model.text:
        inputs.append("prompts")
    if model.condition_channels:
        inputs.append(f"an image of {model.condition_channels} channels")
    if model.two_times:
        inputs.append("a second time")
    if model.guidance:
        low, high = model.guidance
        inputs.append(f"guidance from {low:g} to {high:g}")
    return inputs
