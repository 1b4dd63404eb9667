"""Pipelines of diffusers: what theirs needs of our models."""

import inspect
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
    if model.net.learned_variance and kind == "DDIMScheduler" and not model.text:       # which reads all but the variance
        pipeline, config, kind = pipeline and "DDPMPipeline", config | {"variance_type": "learned_range"}, "DDPMScheduler"
    getattr(diffusers, kind)(**config).save_pretrained(folder / "scheduler")
    if pipeline:
        parts = [model.net, *([model.latent] if model.latent else [])]
        index = {part.folder: ["diffusers", type(part.module).__name__] for part in parts}
        index |= {"scheduler": ["diffusers", kind], **(model.text.index if model.text else {})}
        known = inspect.signature(getattr(diffusers, pipeline).__init__).parameters
        absent = {name: [None, None] for name, p in known.items() if p.default is p.empty and name not in (*index, "self")}
        absent |= {"requires_safety_checker": False} if "requires_safety_checker" in known else {}
        write_json(folder / INDEX, {"_class_name": pipeline, "_diffusers_version": diffusers.__version__, **absent, **index})


def no_pipeline(folder: Path) -> None:
    """Remove what `write_pipeline` writes."""
    (folder / INDEX).unlink(missing_ok=True)
    shutil.rmtree(folder / "scheduler", ignore_errors=True)
