"""Arguments of public functions: whatever can be opened as a model, and the words of other libraries."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import FastdiffError

if TYPE_CHECKING:
    from torch import nn

    from .denoiser import Denoiser
    from .network import Network

# What other libraries call an argument -> what it is called here.
FOREIGN_ARGUMENTS = {
    "num_inference_steps": "steps",
    "num_steps": "steps",
    "num_sampling_steps": "steps",
    "timesteps": "spacing",
    "sigmas": "spacing",
    "guidance_scale": "guidance",
    "cfg_scale": "guidance",
    "guidance_rescale": "rescale",
    "prompt": "prompts",
    "negative_prompt": "negative_prompts",
    "class_labels": "labels",
    "class_label": "labels",
    "label": "labels",
    "num_images_per_prompt": "n",
    "num_images": "n",
    "num_samples": "n",
    "batch_size": "batch",
    "generator": "seed",
    "scheduler": "sampler",
    "mask_image": "mask",
    "pretrained_model_name_or_path": "path",
    "torch_dtype": "dtype",
    "device_map": "device",
}

Result = TypeVar("Result")


class Openers:
    """The functions that open models and networks, which the package sets; core imports no other wing.

    Attributes:
        model: function from a path, hub id, pipeline or bare network to a Denoiser.
        network: function from a network of diffusers and a sample's shape to a Network.
    """

    model: Callable[[Any], "Denoiser"]
    network: Callable[["nn.Module", tuple[int, ...] | None], "Network"]


def as_model(given: Any) -> "Denoiser":
    """Return a Denoiser as it is, and anything else as the Denoiser that can be opened from it.

    Args:
        given: a Denoiser; the path or hub id of a model; or a pipeline of diffusers.

    Raises:
        FastdiffError: for anything else, and for what cannot be opened.
    """
    from .denoiser import Denoiser  # imported late: it imports this module

    return given if isinstance(given, Denoiser) else Openers.model(given)


def takes_a_model(function: Callable[..., Result]) -> Callable[..., Result]:
    """Decorate a function whose first argument is a model: it also takes what `as_model` opens.

    Arguments with the names of other libraries are answered with the names that they have here.
    """
    function = answers_foreign_words(function)
    first = next(iter(inspect.signature(function).parameters))

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Result:
        if args:
            args = (as_model(args[0]), *args[1:])
        elif first in kwargs:
            kwargs[first] = as_model(kwargs[first])
        return function(*args, **kwargs)

    return wrapper


def answers_foreign_words(function: Callable[..., Result]) -> Callable[..., Result]:
    """Decorate a function so that an argument's name of another library is answered with the name here."""
    known = set(inspect.signature(function).parameters)
    if "options" in known:
        known.add("rescale")  # and the other settings of GuidanceOptions, by name
    words = {word: own for word, own in FOREIGN_ARGUMENTS.items() if own in known and word not in known}

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Result:
        if word := next((name for name in kwargs if name in words), None):
            raise FastdiffError(
                f"{function.__name__}: {word} is unknown: write {words[word]}={example(word, kwargs[word])}"
            )
        return function(*args, **kwargs)

    return wrapper


def example(word: str, value: Any) -> str:
    """Return the value of an argument as it is written here, or ... if it is another kind of value."""
    plain = isinstance(value, str | int | float) and word not in ("scheduler", "device_map")
    return repr(value) if plain else "..."
