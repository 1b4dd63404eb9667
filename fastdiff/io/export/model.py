"""The export of a model into a folder that diffusers opens."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin

from ...core.denoiser import Denoiser
from ...core.errors import FastdiffError
from ...core.files import sha256, synced, write_json
from ...core.rescheduled import RescheduledDenoiser
from ...core.schedule import SCHEDULES, Schedule
from ...networks import lora
from ..fingerprint import component_hashes, fingerprint
from ..metadata import METADATA_FILE
from . import card
from .pipeline import remove_pipeline, write_pipeline


def export(
    model: Denoiser,
    folder: Path,
    notes: dict[str, Any],
    dtype: torch.dtype = torch.float32,
    name: str = "",
    recipe: str = "",
    table: str = "",
) -> None:
    """Write the model as a diffusers folder with its card; the model itself stays as it is.

    fastdiff.json comes last, so a folder that has it is whole. An adapter on the model is merged into the
    weights, and is written to lora/ by itself as well.

    Args:
        model: the model; `fastdiff.load` opens the folder as its equal, in eval mode and frozen.
        folder: where to write; it exists already. A model that was there is replaced.
        notes: what else fastdiff.json records, such as method, sources, licences and cost.
        dtype: of the network's weights in the file; an autoencoder and text encoders keep theirs.
        name: the card's title; by default the folder's name.
        recipe: YAML of the run that made the model, for the card.
        table: Markdown of its figures, for the card.

    Raises:
        FastdiffError: for a network that is not of fastdiff.networks, and for a model seen on another
            schedule, which have no file format.
    """
    if not hasattr(model.net, "folder"):
        raise FastdiffError(
            f"{type(model.net).__name__} has no file format: only fastdiff.networks can be exported"
        )
    if isinstance(model, RescheduledDenoiser):
        raise FastdiffError("a model seen on another schedule has no file format: export the model itself")
    scratch = folder / ".export"
    shutil.rmtree(scratch, ignore_errors=True)
    module = lora.merged(model.net.module).cpu().type(dtype)
    module.register_to_config(_name_or_path="")  # or diffusers writes down the folder its init came from
    place = scratch / model.net.folder
    module.save_pretrained(place, max_shard_size="10000GB")
    if lora.adapted(model.net.module):
        notes = {**notes, "lora": lora.save(model.net, scratch / "lora", dtype)}
    describe(scratch, model, notes, name or folder.resolve().name, recipe, table)
    weights = next(place.glob("*.safetensors"))
    synced(weights)
    for companion in filter(None, (model.latent, model.text)):
        companion.save(scratch)
    if model.base:
        export(model.base, scratch / "base", {}, dtype)
    metadata = {**metadata_of(model, module, weights, scratch), **notes}
    (folder / METADATA_FILE).unlink(missing_ok=True)
    remove_pipeline(folder)  # of a model that was here before
    move_into(folder, scratch)
    write_json(folder / METADATA_FILE, metadata)


def metadata_of(model: Denoiser, module: ModelMixin, weights: Path, folder: Path) -> dict[str, Any]:
    """Return what fastdiff.json says of a model by itself.

    Args:
        model: the model.
        module: its network's module, with an adapter merged.
        weights: the module's file.
        folder: where the model's other parts are written.
    """
    return {
        "network": model.net.kind,
        "schedule": {"name": name_of(model.schedule), **asdict(model.schedule)},
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
        "base": model.base and fingerprint(folder / "base"),
        "files": component_hashes(folder, model.net.kind),
        "weights": sha256(weights),
        "params": sum(p.numel() for p in module.parameters()),
    }


def move_into(folder: Path, scratch: Path) -> None:
    """Move the entries of a scratch folder into another, replace those of their names, and remove it."""
    for entry in scratch.iterdir():
        target = folder / entry.name
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        entry.replace(target)
    scratch.rmdir()


def describe(
    folder: Path, model: Denoiser, notes: dict[str, Any], name: str, recipe: str = "", table: str = ""
) -> None:
    """Write what a model's folder tells other programs: its card, and where they fit scheduler and pipeline.

    Args:
        folder: the model's.
        model: the model.
        notes: those of its fastdiff.json.
        name: the card's title.
        recipe: YAML of the run that made the model, for the card.
        table: Markdown of its figures, for the card.
    """
    remove_pipeline(folder)
    if model.net.kind != "mlp":  # which diffusers does not know
        write_pipeline(folder, model)
    card.write(folder, model, notes, name, recipe, table)


def name_of(schedule: Schedule) -> str:
    """Return the key of SCHEDULES that makes a schedule."""
    return next(name for name, kind in SCHEDULES.items() if type(schedule) is kind)
