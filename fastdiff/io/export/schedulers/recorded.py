"""The settings of a scheduler that follow from a model's recorded bounds of x0, end and variance."""

from dataclasses import replace
from typing import Any

import torch

from ....core.denoiser import Denoiser
from ....core.sampling import DATA, Sampling
from .description import DiffusersScheduler, NoMatchingSchedulerError

CLIPPING = ("DDIMScheduler", "DDPMScheduler", "LCMScheduler")
CONSISTENCY = "CMStochasticIterativeScheduler"
VARIANCES = {"small": "fixed_small", "large": "fixed_large", "learned": "learned_range"}
NEVER = 1e9  # a largest bound that no quantile reaches
END_TOLERANCE = 1e-6  # difference of a level from that of the table's first entry


def with_recorded(scheduler: DiffusersScheduler, model: Denoiser) -> DiffusersScheduler:
    """Return a scheduler that also bounds x0, ends and draws noise as the model records.

    Args:
        scheduler: the scheduler that takes the steps of the model's sampler.
        model: the model to export.

    Raises:
        NoMatchingSchedulerError: for a recorded setting that the scheduler does not have.
    """
    own = model.sampling
    name = scheduler.class_name
    if own.time_rounding != "exact":
        raise NoMatchingSchedulerError(f"the network's time is rounded ({own.time_rounding})")
    config = bound_settings(own, name) | end_settings(model, name)
    if name == "DDPMScheduler" and own.variance != "small":
        config["variance_type"] = VARIANCES[own.variance]
    return replace(scheduler, config=scheduler.config | config) if config else scheduler


def bound_settings(own: Sampling, name: str) -> dict[str, Any]:
    """Return the settings of a scheduler, by its class's name, with the recorded bounds of x0."""
    if own.clip is None and own.threshold is None:
        return {}
    if name == CONSISTENCY and own.clip == 1:
        return {"clip_denoised": True}
    if name not in CLIPPING or name == "DDIMScheduler" and not own.keep_eps:
        raise NoMatchingSchedulerError(f"the {name} of diffusers does not bound x0 as this model records")
    if own.clip is not None:
        return {"clip_sample": True, "clip_sample_range": own.clip}
    largest = NEVER if own.threshold_max is None else own.threshold_max
    return {"thresholding": True, "dynamic_thresholding_ratio": own.threshold, "sample_max_value": largest}


def end_settings(model: Denoiser, name: str) -> dict[str, Any]:
    """Return the settings of a scheduler, by its class's name, with which its last step ends as recorded."""
    end = model.sampling.end
    if tuple(end) == DATA:
        return {}
    first = torch.tensor(model.schedule.t_max / model.schedule.timesteps, dtype=torch.float64)
    near = all(
        abs(level - float(known)) < END_TOLERANCE
        for level, known in zip(end, model.schedule.alpha_sigma(first), strict=True)
    )
    if name != "DDIMScheduler" or not near:
        raise NoMatchingSchedulerError(f"the {name} of diffusers does not end at the level {tuple(end)}")
    return {"set_alpha_to_one": False}
