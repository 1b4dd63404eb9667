"""The export of a model into a folder that diffusers opens."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ...core.denoiser import Denoiser
from ...core.errors import FastdiffError
from ...core.files import sha256, synced, write_json
from ...core.rescheduled import Rescheduled
from ...core.schedule import SCHEDULES, Schedule
from ...networks import lora
from ..fingerprint import beside, fingerprint
from ..metadata import ABOUT
from . import card
from .pipeline import no_pipeline, write_pipeline


def export(
    model: Denoiser, folder: Path, notes: dict[str, Any], dtype: torch.dtype = torch.float32, **shown: str
) -> None:
    """Write the model as a diffusers folder with its card; fastdiff.json comes last, so a folder that has it is whole.

    An adapter on it is merged into the weights, and lies in lora/ besides.
    notes: what else fastdiff.json records (method, teacher, data, cost). shown: name, recipe and table of the card.
    """
    if not hasattr(model.net, "folder"):
        raise FastdiffError(
            f"{type(model.net).__name__} has no file format: only fastdiff.networks can be exported"
        )
    if isinstance(model, Rescheduled):
        raise FastdiffError("a model seen on another schedule has no file format: export the model itself")
    scratch = folder / ".export"
    shutil.rmtree(scratch, ignore_errors=True)
    module = lora.merged(model.net.module).cpu().type(dtype)
    module.register_to_config(_name_or_path="")  # or diffusers writes down the folder its init came from
    kind, place = model.net.kind, scratch / model.net.folder
    module.save_pretrained(place, max_shard_size="10000GB")
    if lora.adapted(model.net.module):
        notes = notes | {"lora": lora.save(model.net, scratch / "lora", dtype)}
    describe(scratch, model, notes, **{"name": folder.resolve().name} | shown)
    weights = next(place.glob("*.safetensors"))
    synced(weights)
    for companion in filter(None, (model.latent, model.text)):
        companion.save(scratch)
    if model.base:
        export(model.base, scratch / "base", {}, dtype)
    about = {
        "network": kind,
        "schedule": {"name": name_of(model.schedule)} | asdict(model.schedule),
        "predicts": model.predicts,
        "shape": model.shape,
        "time_input": model.time_input,
        "sigma_data": model.sigma_data,
        "scale_input": model.scale_input,
        "two_times": model.two_times,
        "sampling": asdict(model.sampling),
        "guidance": model.guidance and {"weights": model.guidance, "means": "null + weight (cond - null)"},
        "latent": model.latent and model.latent.fingerprint,
        "text": model.text and {"weights": model.text.fingerprint, "index": model.text.index},
        "base": model.base and fingerprint(scratch / "base"),
        "files": beside(scratch, kind),
        "weights": sha256(weights),
        "params": sum(p.numel() for p in module.parameters()),
        **notes,
    }
    (folder / ABOUT).unlink(missing_ok=True)
    no_pipeline(folder)  # of a model that was here before
    for entry in scratch.iterdir():
        target = folder / entry.name
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        entry.replace(target)
    scratch.rmdir()
    write_json(folder / ABOUT, about)


def describe(folder: Path, model: Denoiser, notes: dict[str, Any], **shown: str) -> None:
    """Write what the model's folder says to others: diffusers' scheduler and pipeline, where they fit, and the card."""
    no_pipeline(folder)
    if model.net.kind != "mlp":  # which diffusers does not know
        write_pipeline(folder, model)
    card.write(folder, model, notes, **shown)


def name_of(schedule: Schedule) -> str:
    """The key of SCHEDULES that makes it."""
    return next(name for name, kind in SCHEDULES.items() if type(schedule) is kind)
