"""Plain diffusers pipelines of a UNet2DModel: what theirs needs of our models."""

import shutil
from pathlib import Path

from .denoiser import Denoiser
from .files import write_json
from .schedulers import stock
from .script import pipeline_of

INDEX = "model_index.json"


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
