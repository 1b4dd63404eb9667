"""The export of a model into a folder that diffusers can open."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...core.denoiser import Denoiser
from ...core.errors import FastdiffError
from ...core.files import expanded, make_directory, sha256, synced, write_json
from ...core.public_arguments import takes_a_model
from ...core.rescheduled import RescheduledDenoiser
from ...core.schedule import SCHEDULES, Schedule
from ...networks import lora
from ...networks.own import OWN_FOLDER, check_storable, is_own, module_of, noted, save
from ..fingerprint import component_hashes, fingerprint, settings_digest
from ..metadata import METADATA_FILE
from . import card
from .pipeline import remove_pipeline, write_pipeline


@takes_a_model
def export(
    model: Denoiser,
    folder: str | Path,
    notes: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    name: str = "",
    recipe: str = "",
    table: str = "",
) -> None:
    """Write a model as a diffusers folder with a model card; the model itself does not change.

    fastdiff.json is written last, so a folder that has it is complete. A LoRA adapter on the model is merged
    into the weights, and is also written separately to lora/.

    Example:
        >>> model = fastdiff.load("checkpoints/digits/consistency")
        >>> fastdiff.export(model, "exported", dtype=torch.float16)

    Args:
        model: the model, or what `fastdiff.sample` opens; `fastdiff.load` of the folder returns an equal one,
            in eval mode and frozen.
        folder: the folder, which is created; a model in it is replaced.
        notes: further keys of fastdiff.json, such as method, sources, licences and cost; None for none.
        dtype: floating-point type of the network's weights in the file; an autoencoder and text encoders keep
            their own.
        name: title of the card; "" for the folder's name.
        recipe: recipe of the run that trained the model, as YAML, for the card; "" for none.
        table: table of its benchmark figures, as Markdown, for the card; "" for none.

    Raises:
        FastdiffError: for a network that is neither one of fastdiff.networks nor built by its registered name
            (see `fastdiff.networks.build`), for a schedule without a name, and for a RescheduledDenoiser (a
            model viewed on another schedule).
    """
    folder, notes = expanded(folder), notes or {}
    if isinstance(model, RescheduledDenoiser):
        raise FastdiffError("a model on another schedule has no file format: export the original model")
    module = lora.merged(module_of(model.net)).cpu()
    check_storable(model.net, model.shape, module)
    scratch = make_directory(folder, "folder") / ".export"
    shutil.rmtree(scratch, ignore_errors=True)
    place = save_network(model.net, module, scratch, dtype)
    if lora.adapted(module_of(model.net)):
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
    remove_pipeline(folder)  # of the model that is replaced
    move_into(folder, scratch)
    metadata["settings"] = settings_digest(folder, metadata)
    write_json(folder / METADATA_FILE, metadata)


def save_network(net: nn.Module, module: nn.Module, folder: Path, dtype: torch.dtype) -> Path:
    """Save the weights of a network and return the folder of its files.

    Args:
        net: the network.
        module: its module, with a merged adapter; it is converted in place.
        folder: the model's folder.
        dtype: floating-point type of the weights in the file.
    """
    if is_own(net):
        place = folder / OWN_FOLDER
        save(module.to(dtype), place)
        return place
    place = folder / net.folder
    module.type(dtype)
    module.register_to_config(_name_or_path="")  # otherwise it is the folder that it was loaded from
    module.save_pretrained(place, max_shard_size="10000GB")
    return place


def metadata_of(model: Denoiser, module: nn.Module, weights: Path, folder: Path) -> dict[str, Any]:
    """Return the keys of fastdiff.json that follow from the model itself.

    Args:
        model: the model.
        module: the module of its network, with a merged adapter.
        weights: the file of the module's weights.
        folder: the folder that the model's other components were written to.
    """
    own = is_own(model.net)
    kind = model.net.blueprint.name if own else model.net.kind
    built_with = {"built_with": noted(model.net.blueprint)} if own else {}
    return {
        "network": kind,
        **built_with,
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
        "files": component_hashes(folder, kind),
        "weights": sha256(weights),
        "params": sum(p.numel() for p in module.parameters()),
    }


def move_into(folder: Path, scratch: Path) -> None:
    """Move the entries of a scratch folder into another, replace those of the same names, and delete it."""
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
    """Write the files of a model's folder that other programs read: the card, and a scheduler and pipeline.

    Scheduler and pipeline are only written if they sample as the model does.

    Args:
        folder: the model's folder.
        model: the model.
        notes: the contents of its fastdiff.json.
        name: title of the card.
        recipe: recipe of the run that trained the model, as YAML; "" for none.
        table: table of its benchmark figures, as Markdown; "" for none.
    """
    remove_pipeline(folder)
    if model.interface.kind != "mlp" and not is_own(model.net):  # diffusers has no such networks
        write_pipeline(folder, model)
    card.write(folder, model, notes, name, recipe, table)


def name_of(schedule: Schedule) -> str:
    """Return the name of a schedule, a key of SCHEDULES; raise FastdiffError if it has none."""
    name = next((name for name, kind in SCHEDULES.items() if type(schedule) is kind), None)
    if name is None:
        raise FastdiffError(
            f"schedule {type(schedule).__name__} is not registered: add it to SCHEDULES under a name first"
        )
    return name
