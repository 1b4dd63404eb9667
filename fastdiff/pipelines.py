"""Plain diffusers pipelines of a UNet2DModel: what theirs needs of our models, and what ours reads of theirs."""

import shutil
from pathlib import Path
from typing import Literal

from diffusers import UNet2DModel
from pydantic import BaseModel, Field

from .about import ABOUT, MOST, Finite, sized
from .betas import DIFFUSERS_BETAS
from .denoiser import Denoiser
from .errors import FastdiffError
from .files import read_json, write_json
from .images import first_line
from .networks import UNet
from .schedule import DDPM
from .schedulers import DIFFUSERS_NAMES, stock
from .script import pipeline_of
from .settings import validate
from .weights import check_weights, opened

INDEX = "model_index.json"
PIPELINES = ("DDPMPipeline", "DDIMPipeline", "PNDMPipeline")


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
    """The scheduler of diffusers that samples as the model does; model_index.json where a stock pipeline calls it so."""
    import diffusers

    found = stock(model)
    if isinstance(found, str):
        return                                      # fastdiff.json alone describes it
    pipeline, config, kind = pipeline_of(model, found), found.config, found.scheduler
    if model.net.learned_variance and kind == "DDIMScheduler":          # of which DDIMScheduler reads all but the variance
        pipeline, config, kind = pipeline and "DDPMPipeline", config | {"variance_type": "learned_range"}, "DDPMScheduler"
    getattr(diffusers, kind)(**config).save_pretrained(folder / "scheduler")
    if pipeline:
        write_json(folder / INDEX, {
            "_class_name": pipeline, "_diffusers_version": diffusers.__version__,
            "scheduler": ["diffusers", kind], "unet": ["diffusers", "UNet2DModel"]})


def no_pipeline(folder: Path) -> None:
    """Remove what `write_pipeline` writes."""
    (folder / INDEX).unlink(missing_ok=True)
    shutil.rmtree(folder / "scheduler", ignore_errors=True)


def table_of(config: Table) -> DDPM:
    """The table that a scheduler of diffusers describes."""
    kind = {theirs: ours for ours, theirs in DIFFUSERS_BETAS.items()}[config.beta_schedule]
    return DDPM(float(config.num_train_timesteps), config.beta_start, config.beta_end, config.trained_betas or (), kind,
                config.rescale_betas_zero_snr)


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
