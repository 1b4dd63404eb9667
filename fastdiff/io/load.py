"""Models on disk: a plain diffusers folder with a fastdiff.json beside it."""

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import diffusers
import torch

from ..core.denoiser import Denoiser, Matched
from ..core.errors import FastdiffError
from ..core.files import sha256, synced, write_json
from ..core.schedule import SCHEDULES, Schedule
from ..networks import KINDS, MLP, lora
from ..networks.autoencoder import Autoencoder
from ..networks.pretrained import INDEX, PICKLED, check_weights, opened, pickled_file
from ..networks.text_encoder import TextEncoder
from . import hub
from .export import card
from .export.pipeline import no_pipeline, write_pipeline
from .formats import EDM, load_foreign
from .formats.components import fitted
from .metadata import ABOUT, About, about, read

# Modules of diffusers by the kind of network that stands around them.
MODULES = {"unet": "UNet2DModel", "text_unet": "UNet2DConditionModel", "dit": "DiTTransformer2DModel",
           "pixart": "PixArtTransformer2DModel", "sd3": "SD3Transformer2DModel", "flux": "FluxTransformer2DModel"}


def export(model: Denoiser, folder: Path, notes: dict[str, Any], dtype: torch.dtype = torch.float32,
           **shown: str) -> None:
    """Write the model as a diffusers folder with its card; fastdiff.json comes last, so a folder that has it is whole.

    An adapter on it is merged into the weights, and lies in lora/ besides.
    notes: what else fastdiff.json records (method, teacher, data, cost). shown: name, recipe and table of the card.
    """
    if not hasattr(model.net, "folder"):
        raise FastdiffError(f"{type(model.net).__name__} has no file format: only fastdiff.networks can be exported")
    if isinstance(model, Matched):
        raise FastdiffError("a model seen on another schedule has no file format: export the model itself")
    scratch = folder / ".export"
    shutil.rmtree(scratch, ignore_errors=True)
    module = lora.merged(model.net.module).cpu().type(dtype)
    module.register_to_config(_name_or_path="")                 # or diffusers writes down the folder its init came from
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
        "network": kind, "schedule": {"name": name_of(model.schedule)} | asdict(model.schedule), "predicts": model.predicts,
        "shape": model.shape, "time_input": model.time_input, "sigma_data": model.sigma_data,
        "scale_input": model.scale_input, "two_times": model.two_times, "sampling": asdict(model.sampling),
        "guidance": model.guidance and {"weights": model.guidance, "means": "null + weight (cond - null)"},
        "latent": model.latent and model.latent.fingerprint,
        "text": model.text and {"weights": model.text.fingerprint, "index": model.text.index},
        "base": model.base and fingerprint(scratch / "base"), "files": beside(scratch, kind),
        "weights": sha256(weights), "params": sum(p.numel() for p in module.parameters()), **notes,
    }
    (folder / ABOUT).unlink(missing_ok=True)
    no_pipeline(folder)                                         # of a model that was here before
    for entry in scratch.iterdir():
        target = folder / entry.name
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        entry.replace(target)
    scratch.rmdir()
    write_json(folder / ABOUT, about)


def beside(folder: Path, kind: str) -> dict[str, str]:
    """SHA-256 of the weights that stand beside a network of a kind, by their places in its folder."""
    others = (KINDS[kind].folder, "lora", "base")
    return {f"{path.parent.name}/{path.name}": sha256(path) for path in sorted(folder.glob("*/*.safetensors"))
            if path.parent.name not in others}


def describe(folder: Path, model: Denoiser, notes: dict[str, Any], **shown: str) -> None:
    """Write what the model's folder says to others: diffusers' scheduler and pipeline, where they fit, and the card."""
    no_pipeline(folder)
    if model.net.kind != "mlp":                                # which diffusers does not know
        write_pipeline(folder, model)
    card.write(folder, model, notes, **shown)


def name_of(schedule: Schedule) -> str:
    """The key of SCHEDULES that makes it."""
    return next(name for name, kind in SCHEDULES.items() if type(schedule) is kind)


# What a model is, of the files of others: all but those at the top that only list the parts.
PARTS = ("*/*.safetensors", "*/*.json", "*.safetensors", "config.json", EDM)


def fingerprint(path: str | Path) -> str:
    """What identifies a model: SHA-256 of its weights, and of a plain folder's settings; id@commit of one on the hub."""
    folder = Path(path).expanduser()
    if notes := about(folder):
        parts = [notes["weights"], *filter(None, (notes.get("latent"), (notes.get("text") or {}).get("weights"),
                                                  notes.get("base")))]
        return parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()
    files = sorted(file for pattern in PARTS for file in folder.glob(pattern))
    if not files and hub.is_id(str(path)):
        return hub.pinned(str(path))
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest() if files else str(path)


def load(path: str | Path, device: torch.device | str = "cpu") -> Denoiser:
    """A model from a run's export, a diffusers pipeline, a network of EDM (formats/edm.py) or a hub id, in float32.

    Of a hub id, user/model or user/model@revision, JSON and safetensors are fetched into the hub's cache.
    """
    folder = Path(path).expanduser()
    if folder.is_file():
        raise FastdiffError(pickled_file(folder) if folder.suffix in PICKLED else
                            f"{path} is a file: a model is a run's stage, a diffusers folder or a hub id")
    folder = hub.folder(str(path))
    notes = about(folder)
    try:
        model = load_foreign(folder) if notes is None else load_export(folder, read(notes))
    except (OSError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise FastdiffError(
            f"{folder} is damaged ({reason}): copy it again, or remove it and run its stage again") from None
    return model.float().eval().requires_grad_(False).to(device)


def load_export(folder: Path, notes: About) -> Denoiser:
    """A model that `export` wrote, its weights checked against their checksum."""
    kind = KINDS[notes.network]
    place = folder / kind.folder
    check_weights(place)
    weights, *more = [*place.glob("*.safetensors"), *place.glob(INDEX)] or [None]
    if more:                                                              # the checksum is of one file
        raise FastdiffError(f"{folder} has {more[0].name} beside {weights.name}: expected one file, copy it again")
    if weights is None or sha256(weights) != notes.weights:
        what = "is missing its weights" if weights is None else f"has damaged weights ({weights.name}: wrong checksum)"
        raise FastdiffError(f"{folder} {what}: copy it again, or remove it and run its stage again")
    if notes.base and fingerprint(folder / "base") != notes.base:
        raise FastdiffError(f"{folder / 'base'} is not the model that it stands on: copy it again, whole")
    found = beside(folder, notes.network) if notes.files else {}
    if damaged := [name for name, of in notes.files.items() if found.get(name) != of]:
        raise FastdiffError(f"{folder} is missing {damaged[0]}, or it is damaged (wrong checksum): copy it again")
    guidance = notes.guidance.weights if notes.guidance else None
    module = opened(MLP if kind is MLP else getattr(diffusers, MODULES[notes.network]), place)
    return fitted(Denoiser(
        kind.of(module, notes.shape, bool(guidance)), notes.schedule, notes.predicts, notes.shape, notes.time_input,
        notes.sigma_data, notes.scale_input, notes.two_times, notes.how(), guidance,
        Autoencoder.open(folder) if notes.latent else None, notes.text and TextEncoder.open(folder, notes.text.index),
        load(folder / "base") if notes.base else None))


def record_times(path: str | Path, times: Iterable[float]) -> None:
    """Note in a model's fastdiff.json the grid found for a step count; those of other step counts stay."""
    folder = Path(path).expanduser()
    notes = about(folder)
    if notes is None:
        raise FastdiffError(f"{folder} has no {ABOUT} to note the times in: export the model first")
    write_json(folder / ABOUT, notes | {"sampling": asdict(read(notes).how().with_times(times))})
