"""Further inputs of a network besides x and t: a second time, and a guidance weight."""

from copy import deepcopy

import torch
from torch import Tensor

from .denoiser import Cond, Denoiser
from .errors import FastdiffError
from .network import PLAIN_NETWORK, extended, no_such_input


def with_second_time(model: Denoiser) -> Denoiser:
    """Return a copy that also takes a second time s; until it is trained, its output equals the model's.

    A model that already takes two times is returned as it is.

    Raises:
        FastdiffError: if the network cannot take a second time.
    """
    if model.two_times:
        return model
    if model.interface is PLAIN_NETWORK:
        raise no_such_input(model.net, "second time")
    student = deepcopy(model)
    student.net = extended(model.net, "with_second_time")
    student.two_times = True
    return student


def with_guidance(model: Denoiser, weights: tuple[float, float]) -> Denoiser:
    """Return a copy that also takes a guidance weight; until it is trained, its output equals the model's.

    Args:
        model: a model with a null class or prompts.
        weights: range (low, high) of the guidance weight.

    Raises:
        FastdiffError: if the model has neither, or its network cannot take a weight.
    """
    if model.null_label is None and not model.text:
        raise FastdiffError(
            "guidance needs a model with labels and a null class, or with prompts: this model has neither"
        )
    student = deepcopy(model)
    if not model.guidance:
        student.net = extended(model.net, "with_guidance")
    student.guidance = weights
    return student


def scaled_guidance(x: Tensor, cond: Cond) -> Tensor:
    """Return guidance weights (B,) times 100, so that 0..10 covers the embedding range of timesteps 0..1000.

    The weight is 1 where `cond` has none.
    """
    return 100 * (cond["guidance"].to(x) if cond and "guidance" in cond else torch.ones_like(x))
