"""Plain diffusers pipelines of a UNet2DModel: what theirs needs of our models."""

from pathlib import Path
from typing import Any

import torch

from .denoiser import Denoiser
from .files import write_json
from .schedule import DDPM, Schedule

INDEX = "model_index.json"
DIFFUSERS_NAMES = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
DIFFUSERS_BETAS = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2", "sigmoid": "sigmoid"}


def write_pipeline(folder: Path, model: Denoiser) -> None:
    """model_index.json and the scheduler with which diffusers' own pipeline samples this network."""
    if (model.time_input != "timestep" or model.predicts not in DIFFUSERS_NAMES or model.two_times or model.guidance
            or not variance_preserving(model.schedule)):
        return                                      # no stock pipeline runs it; fastdiff.json alone describes it
    from diffusers import DDIMScheduler, DDPMScheduler, __version__

    kind, scheduler, variance = "DDIM", DDIMScheduler, {}
    if model.net.learned_variance:                  # which their DDIM does not take
        kind, scheduler, variance = "DDPM", DDPMScheduler, {"variance_type": "learned_range"}
    scheduler(
        num_train_timesteps=model.schedule.timesteps, **table_config(model.schedule), clip_sample=False, **variance,
        prediction_type=DIFFUSERS_NAMES[model.predicts], timestep_spacing="trailing").save_pretrained(folder / "scheduler")
    write_json(folder / INDEX, {
        "_class_name": f"{kind}Pipeline", "_diffusers_version": __version__,
        "scheduler": ["diffusers", f"{kind}Scheduler"], "unet": ["diffusers", "UNet2DModel"]})


def variance_preserving(schedule: Schedule) -> bool:
    """Whether alpha^2 + sigma^2 = 1."""
    alpha, sigma = schedule.alpha_sigma(torch.tensor(schedule.t_max / 2, dtype=torch.float64))
    return bool((alpha**2 + sigma**2 - 1).abs() < 1e-6)


def table_config(schedule: Schedule) -> dict[str, Any]:
    """The schedule as the scheduler of diffusers takes it: by its name there, or as betas."""
    if isinstance(schedule, DDPM) and schedule.kind != "sigmoid":                 # which its DDIMScheduler does not know
        return {"beta_schedule": DIFFUSERS_BETAS[schedule.kind], "trained_betas": list(schedule.betas) or None,
                "beta_start": schedule.beta_start, "beta_end": schedule.beta_end,
                "rescale_betas_zero_snr": schedule.zero_terminal_snr}
    return {"trained_betas": table_betas(schedule)}


def table_betas(schedule: Schedule) -> list[float]:
    """The schedule as the betas of its training timesteps."""
    count = schedule.timesteps
    alpha, _ = schedule.alpha_sigma(torch.arange(count + 1, dtype=torch.float64) * schedule.t_max / count)
    return (1 - (alpha[1:] / alpha[:-1]).square()).tolist()
