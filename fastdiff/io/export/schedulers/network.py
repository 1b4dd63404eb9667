"""Conversions between a network's time, input and output and those of a diffusers scheduler."""

from collections.abc import Callable

import torch
from torch import Tensor

from ....core.denoiser import Denoiser
from ....core.prediction import PREDICTION_TYPES, TIME_INPUTS
from .description import NoMatchingSchedulerError


def output_factor(model: Denoiser, row: str) -> float | None:
    """Return the factor that turns the network's output into a prediction of `row`, in PREDICTION_TYPES.

    None if there is no such factor that is the same at all times.
    """
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64) * model.schedule.t_max
    a, b = model.output_coefficients(t)
    c, d = PREDICTION_TYPES[row](model.schedule, t, model.sigma_data)
    number = float((a * c + b * d).sum() / (a * a + b * b).sum())
    return number if allclose(number * a, c) and allclose(number * b, d) else None


def network_clock(
    model: Denoiser, scheduler_time: Callable[[Tensor], Tensor]
) -> tuple[tuple[float, float], float]:
    """Return the linear map from the scheduler's time to the network's time.

    Args:
        model: the model to export.
        scheduler_time: function that returns the scheduler's time at times of the model's schedule.

    Returns:
        (a, b), for which the network's time is a t + b at the scheduler's time t; and the scheduler's time of
        clean data.

    Raises:
        NoMatchingSchedulerError: if the network's time is not a linear function of the scheduler's.
    """
    t = torch.linspace(0.1, 1, 10, dtype=torch.float64) * model.schedule.t_max
    time_input = TIME_INPUTS[model.time_input]
    network_times = time_input(t, model.schedule)
    of_data = time_input(torch.zeros(1, dtype=torch.float64), model.schedule)
    scheduler_times = scheduler_time(t)
    a = float((network_times[-1] - network_times[0]) / (scheduler_times[-1] - scheduler_times[0]))
    b = float(network_times[0] - a * scheduler_times[0])
    if not allclose(a * scheduler_times + b, network_times):
        raise NoMatchingSchedulerError(
            f"the network's time input, {model.time_input}, is not that of diffusers' scheduler on "
            f"{model.schedule}"
        )
    return (round(a, 12), round(b, 9)), round(float(of_data - b) / a, 9)


def network_input(model: Denoiser) -> str:
    """Return the network's input as Python source: x times a number.

    Raises:
        NoMatchingSchedulerError: if that number depends on the time.
    """
    t = torch.linspace(0.1, 1, 10, dtype=torch.float64) * model.schedule.t_max
    scale = model.preconditioning(t)[0]
    if not allclose(scale, scale[0].expand_as(scale)):
        raise NoMatchingSchedulerError(
            f"no scheduler of diffusers scales a network's input as sigma_data = {model.sigma_data:g} "
            f"requires on {model.schedule}"
        )
    return "x" if allclose(scale[0], torch.ones(())) else f"{float(scale[0]):.9g} * x"


def allclose(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal to about nine digits."""
    return torch.allclose(one.double(), other.double(), rtol=1e-9, atol=1e-9)
