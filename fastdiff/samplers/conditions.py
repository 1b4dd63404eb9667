"""The conditions of samples: labels, prompts and condition images, checked against a model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.condition import NEGATIVE_KEYS
from ..core.denoiser import Cond, Denoiser
from ..core.errors import FastdiffError
from ..core.guidance import GuidanceOptions, usual_guidance


def conditions(
    model: Denoiser,
    n: int,
    labels: Tensor | int | None = None,
    prompts: str | Sequence[str] | None = None,
    condition_image: Tensor | None = None,
    guidance: float = 1.0,
    options: GuidanceOptions = GuidanceOptions(),
    negative_prompts: str | Sequence[str] | None = None,
) -> Cond:
    """Return the condition of n samples with one row per sample; None for no condition.

    Args:
        model: the model to sample.
        n: number of samples.
        labels: class of all samples or of each sample (n,).
        prompts: prompt of all samples or of each sample (n).
        condition_image: condition image (1, C, h, w) of all samples or (n, C, h, w) of each sample.
        guidance: guidance weight.
        options: other settings of guidance.
        negative_prompts: prompt of all samples or of each sample (n) to guide against; None for "".

    Raises:
        FastdiffError: for conditions that the model does not take, a missing condition image, guidance
            without a condition, and settings of guidance at a weight of 1.
    """
    cond: dict[str, Tensor] = {}
    if labels is not None:
        given = one_each("labels", torch.as_tensor(labels).reshape(-1), n)
        cond["label"] = check_labels(model, given)
    if prompts is not None and not model.text:
        fit = "leave them out" if model.classes is None else "give labels"
        raise FastdiffError(f"prompts: this model takes no prompts; {fit}")
    if model.text:
        cond |= embedded_prompts(model, n, "" if prompts is None else prompts)
    if negative_prompts is not None:
        check_negative(model, guidance, options)
        against = embedded_prompts(model, n, negative_prompts, "negative_prompts")
        cond |= {NEGATIVE_KEYS[name]: value for name, value in against.items()}
    if condition_image is not None:
        images = check_image(model, condition_image)
        cond["image"] = images[one_each("condition_image", torch.arange(len(images)), n)]
    elif model.condition_channels and model.base is None:
        raise FastdiffError(
            "condition_image is missing: this model is conditioned on an image; give one, or one per sample"
        )
    guided = guidance != 1.0 or options.plus
    if model.guidance and not cond:  # a network with the weight as an input always takes it
        cond["guidance"] = torch.full((n,), float(guidance))
    by_default = model.guidance is not None and guidance == usual_guidance(model)
    if guided and not by_default and options.against is None and labels is None and prompts is None:
        missing = "prompts" if model.text else "labels"
        raise FastdiffError(
            f"guidance = {guidance} needs {missing}: guidance has no effect without a condition"
        )
    if not guided and (name := options.idle_without_guidance):
        raise FastdiffError(
            f"{name} = {getattr(options, name)} has no effect at guidance = 1, which turns guidance off: "
            "set guidance too",
            key=name,
        )
    return cond or None


def check_negative(model: Denoiser, guidance: float, options: GuidanceOptions) -> None:
    """Raise FastdiffError if negative prompts have no effect on a model."""
    if not model.text:
        raise FastdiffError("negative_prompts: this model takes no prompts; leave them out")
    if model.guidance:
        raise FastdiffError(
            "negative_prompts: this model takes a guidance weight as an input and has no branch to guide "
            "against; leave them out"
        )
    if options.against is not None or (guidance == 1 and not options.plus):
        reason = "guidance = 1, which turns guidance off" if options.against is None else "a weaker model"
        raise FastdiffError(f"negative_prompts have no effect with {reason}: set guidance above 1")


def embedded_prompts(
    model: Denoiser, n: int, prompts: str | Sequence[str], name: str = "prompts"
) -> dict[str, Tensor]:
    """Return the embedded prompts of n samples, of which each distinct prompt is encoded once.

    Args:
        model: a model with prompts.
        n: number of samples.
        prompts: one prompt, or n of them.
        name: name of the argument, for errors.
    """
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    number = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
    rows = one_each(name, torch.tensor([number[prompt] for prompt in prompts]), n)
    encoded = model.text.to(model.device).encode(list(number))
    return {name: value[rows] for name, value in encoded.items()}


def check_image(model: Denoiser, image: Tensor) -> Tensor:
    """Return condition images (n, C, h, w); raise FastdiffError if the model does not take them."""
    channels = model.condition_channels
    if not channels or image.ndim != 4 or image.shape[1] != channels:
        fit = f"expected shape (n, {channels}, H, W)" if channels else "this model takes no condition image"
        raise FastdiffError(f"condition_image of shape {tuple(image.shape)}: {fit}")
    return image


def one_each(name: str, given: Tensor, n: int) -> Tensor:
    """Return the given values (n,), or one value n times; raise FastdiffError for another number of them."""
    if len(given) not in (1, n):
        raise FastdiffError(f"{name}: {len(given)} of them for n = {n}; give one, or one per sample")
    return given.expand(n)


def rows_of(cond: Cond, rows: Tensor) -> Cond:
    """Return the given rows of a condition; None for no condition."""
    return {name: value[rows] for name, value in cond.items()} if cond else None


def check_labels(model: Denoiser, labels: Tensor) -> Tensor:
    """Return labels as int64; raise FastdiffError if they are not classes of the model."""
    if model.classes is None:
        raise FastdiffError("labels: this model takes no labels; leave them out")
    if labels.is_floating_point() and bool((labels != labels.round()).any()):
        raise FastdiffError(f"labels: expected whole numbers, 0 to {model.classes - 1}")
    if labels.min() < 0 or labels.max() >= model.classes:
        raise FastdiffError(
            f"labels: expected 0 to {model.classes - 1}, got {int(labels.min())} to {int(labels.max())}"
        )
    return labels.long()
