"""The names that diffusers uses for predictions and schedules, and schedules as its tables of betas."""

from typing import Any

import torch

from ..core.schedule import DDPM, Schedule

DIFFUSERS_NAMES = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
LCM_NAMES = {"lcm_eps": "epsilon", "lcm_v": "v_prediction"}  # predictions with LCM's boundary condition
INDEX_FILE = "model_index.json"

DIFFUSERS_BETAS = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "cosine": "squaredcos_cap_v2",
    "sigmoid": "sigmoid",
}


def variance_preserving(schedule: Schedule) -> bool:
    """Return whether a schedule is variance preserving: alpha^2 + sigma^2 = 1."""
    alpha, sigma = schedule.alpha_sigma(torch.tensor(schedule.t_max / 2, dtype=torch.float64))
    return bool((alpha**2 + sigma**2 - 1).abs() < 1e-6)


def table_config(schedule: Schedule) -> dict[str, Any]:
    """Return the schedule as arguments of a diffusers scheduler: by its name there, or as betas."""
    if isinstance(schedule, DDPM) and schedule.kind != "sigmoid":  # DDIMScheduler does not know sigmoid
        return {
            "beta_schedule": DIFFUSERS_BETAS[schedule.kind],
            "trained_betas": list(schedule.betas) or None,
            "beta_start": schedule.beta_start,
            "beta_end": schedule.beta_end,
            "rescale_betas_zero_snr": schedule.zero_terminal_snr,
        }
    return {"trained_betas": table_betas(schedule)}


def table_betas(schedule: Schedule) -> list[float]:
    """Return the betas of the schedule's training timesteps."""
    count = schedule.timesteps
    alpha, _ = schedule.alpha_sigma(torch.arange(count + 1, dtype=torch.float64) * schedule.t_max / count)
    return (1 - (alpha[1:] / alpha[:-1]).square()).tolist()
