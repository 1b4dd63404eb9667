"""Plain diffusers pipelines of a UNet2DModel: what theirs needs of our models, and what ours reads of theirs."""

from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import UNet2DModel
from pydantic import BaseModel, Field

from .about import ABOUT, MOST, Finite, sized
from .denoiser import Denoiser
from .errors import FastdiffError
from .files import read_json, write_json
from .images import first_line
from .networks import UNet
from .schedule import DDPM, Schedule
from .settings import validate
from .weights import check_weights, opened

INDEX = "model_index.json"
PIPELINES = ("DDPMPipeline", "DDIMPipeline", "PNDMPipeline")
DIFFUSERS_NAMES = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
DIFFUSERS_BETAS = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2", "sigmoid": "sigmoid"}


class Table(BaseModel):
    """scheduler_config.json, as far as it is read here; the defaults are those of diffusers' DDPMScheduler."""

    num_train_timesteps: int = Field(1000, ge=1, le=MOST)
    beta_start: Finite = 1e-4
    beta_end: Finite = 2e-2
    beta_schedule: Literal[tuple(DIFFUSERS_BETAS.values())] = "linear"
    trained_betas: tuple[Finite, ...] | None = None
    rescale_betas_zero_snr: bool = False
    prediction_type: Literal[tuple(DIFFUSERS_NAMES.values())] = "epsilon"


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


def table_of(config: Table) -> DDPM:
    """The table that a scheduler of diffusers describes."""
    kind = {theirs: ours for ours, theirs in DIFFUSERS_BETAS.items()}[config.beta_schedule]
    return DDPM(float(config.num_train_timesteps), config.beta_start, config.beta_end, config.trained_betas or (), kind,
                config.rescale_betas_zero_snr)


def table_betas(schedule: Schedule) -> list[float]:
    """The schedule as the betas of its training timesteps."""
    count = schedule.timesteps
    alpha, _ = schedule.alpha_sigma(torch.arange(count + 1, dtype=torch.float64) * schedule.t_max / count)
    return (1 - (alpha[1:] / alpha[:-1]).square()).tolist()


def load_diffusers(folder: Path) -> Denoiser:
    """A DDPM or DDIM pipeline of diffusers with a UNet2DModel."""
    if not (folder / INDEX).is_file():
        raise FastdiffError(f"{folder} is no model: expected {ABOUT} or {INDEX} in it; name a stage of a run")
    check_weights(folder / "unet")
    try:
        index = read_json(folder / INDEX)
        kind = index.get("_class_name") if isinstance(index, dict) else index
        if kind not in PIPELINES or index.get("unet") != ["diffusers", "UNet2DModel"]:
            raise FastdiffError(f"this {kind!r:.80} is not supported, only {', '.join(PIPELINES)} of a UNet2DModel")
        table = validate(Table, read_json(folder / "scheduler/scheduler_config.json"), "scheduler")
        net = opened(UNet2DModel, folder / "unet")
        size, channels = net.config.sample_size, net.config.in_channels
        shape = sized((channels, *((size, size) if isinstance(size, int) else size)))
        predicts = {theirs: ours for ours, theirs in DIFFUSERS_NAMES.items()}[table.prediction_type]
        return Denoiser(UNet.of(net, shape, False), table_of(table), predicts, shape)
    except (FastdiffError, OSError, ValueError, TypeError) as error:
        raise FastdiffError(f"{folder}: cannot be loaded as a diffusers model ({first_line(error)})") from None
