"""How a scheduler's time, input and output follow from what a model's network takes and predicts."""

from collections.abc import Callable

import torch
from torch import Tensor

from ....core.denoiser import Denoiser
from ....core.prediction import PREDICTION_TYPES, TIME_INPUTS
from .description import NoMatchingSchedulerError


def output_factor(model: Denoiser, row: str) -> float | None:
    """Return the factor that turns the network's output into a prediction of `row`, in PREDICTION_TYPES.

    None if no number does so at all times.
    """
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64) * model.schedule.t_max
    a, b = model.output_coefficients(t)
    c, d = PREDICTION_TYPES[row](model.schedule, t, model.sigma_data)
    number = float((a * c + b * d).sum() / (a * a + b * b).sum())
    return number if allclose(number * a, c) and allclose(number * b, d) else None


def network_clock(
    model: Denoiser, scheduler_time: Callable[[Tensor], Tensor]
) -> tuple[tuple[float, float], float]:
    """Return how the network's time follows from the scheduler's.

    Args:
        model: the model to export.
        scheduler_time: the scheduler's time at a time of the model's schedule.

    Returns:
        (a, b), the network's time being a t + b at the scheduler's time t; and the scheduler's time of clean
        data.

    Raises:
        NoMatchingSchedulerError: if the network's time is not linear in the scheduler's.
    """
    t = torch.linspace(0.1, 1, 10, dtype=torch.float64) * model.schedule.t_max
    time_input = TIME_INPUTS[model.time_input]
    ours = time_input(t, model.schedule)
    of_data = time_input(torch.zeros(1, dtype=torch.float64), model.schedule)
    theirs = scheduler_time(t)
    a = float((ours[-1] - ours[0]) / (theirs[-1] - theirs[0]))
    b = float(ours[0] - a * theirs[0])
    if not allclose(a * theirs + b, ours):
        raise NoMatchingSchedulerError(
            f"the network's clock, {model.time_input}, is not that of diffusers' scheduler on "
            f"{model.schedule}"
        )
    return (round(a, 12), round(b, 9)), round(float(of_data - b) / a, 9)


def network_input(model: Denoiser) -> str:
    """Return the network's input in Python's words: x times a number.

    Raises:
        NoMatchingSchedulerError: if that number depends on the time.
    """
    t = torch.linspace(0.1, 1, 10, dtype=torch.float64) * model.schedule.t_max
    scale = model.preconditioning(t)[0]
    if not allclose(scale, scale[0].expand_as(scale)):
        raise NoMatchingSchedulerError(
            f"no scheduler of diffusers scales a network's input as sigma_data = {model.sigma_data:g} asks "
            f"for on {model.schedule}"
        )
    return "x" if allclose(scale[0], torch.ones(())) else f"{float(scale[0]):.9g} * x"


def allclose(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal to about nine digits."""
    return torch.allclose(one.double(), other.double(), rtol=1e-9, atol=1e-9)
