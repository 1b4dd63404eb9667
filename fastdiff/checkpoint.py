"""Models on disk: a plain diffusers folder with a fastdiff.json beside it, and the folders of a training's state."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from safetensors import SafetensorError

from .denoiser import Denoiser, Matched, Sampling
from .errors import FastdiffError
from .networks import MLP, UNet
from .schedule import DDPM, SCHEDULES, Schedule

ABOUT = "fastdiff.json"
# How each kind of network is read from its folder, for data of a shape; guided: it is told a weight of guidance.
NETS = {
    "unet": lambda folder, shape, guided: UNet(
        UNet2DModel.from_pretrained(folder, local_files_only=True, use_safetensors=True), shape[0], guided),
    "mlp": lambda folder, shape, guided: MLP.from_pretrained(folder, local_files_only=True, use_safetensors=True),
}
PIPELINES = ("DDPMPipeline", "DDIMPipeline", "PNDMPipeline")
DIFFUSERS_NAMES = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
DIFFUSERS_BETAS = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2", "sigmoid": "sigmoid"}


def sha256(path: Path) -> str:
    """A file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, data: Any) -> None:
    """Written to a temporary name, synced and renamed."""
    scratch = path.with_name(f".{path.name}.new")
    with scratch.open("w") as file:
        json.dump(data, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


# ---- exports: what a trained model is used from


def export(model: Denoiser, folder: Path, notes: dict[str, Any], dtype: torch.dtype = torch.float32) -> None:
    """Write the model as a diffusers folder; fastdiff.json comes last, so a folder that has it is whole.

    notes: what else fastdiff.json records (method, teacher, data, cost).
    """
    if not hasattr(model.net, "folder"):
        raise FastdiffError(f"{type(model.net).__name__} has no file format: only fastdiff.networks can be exported")
    if isinstance(model, Matched):
        raise FastdiffError("a model seen on another schedule has no file format: export the model itself")
    scratch = folder / ".export"
    shutil.rmtree(scratch, ignore_errors=True)
    module = deepcopy(model.net.module).cpu().type(dtype)
    module.register_to_config(_name_or_path="")                 # or diffusers writes down the folder its init came from
    kind = model.net.folder
    module.save_pretrained(scratch / kind)
    if kind == "unet":
        write_pipeline(scratch, model)
    weights = next((scratch / kind).glob("*.safetensors"))
    about = {
        "network": kind, "schedule": {"name": name_of(model.schedule)} | asdict(model.schedule), "predicts": model.predicts,
        "shape": model.shape, "time_input": model.time_input, "sigma_data": model.sigma_data,
        "scale_input": model.scale_input, "two_times": model.two_times, "sampling": asdict(model.sampling),
        "guidance": model.guidance and {"weights": model.guidance, "means": "null + weight (cond - null)"},
        "weights": sha256(weights), "params": sum(p.numel() for p in module.parameters()), **notes,
    }
    (folder / ABOUT).unlink(missing_ok=True)
    for entry in scratch.iterdir():
        target = folder / entry.name
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        entry.replace(target)
    scratch.rmdir()
    write_json(folder / ABOUT, about)


def name_of(schedule: Schedule) -> str:
    """The key of SCHEDULES that makes it."""
    return next(name for name, kind in SCHEDULES.items() if type(schedule) is kind)


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
    write_json(folder / "model_index.json", {
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


def table_of(config: Any) -> DDPM:
    """The table that a scheduler of diffusers describes."""
    kinds = {theirs: ours for ours, theirs in DIFFUSERS_BETAS.items()}
    if config.beta_schedule not in kinds:
        raise ValueError(f"beta_schedule {config.beta_schedule!r} is unknown")
    return DDPM(float(config.num_train_timesteps), config.beta_start, config.beta_end, tuple(config.trained_betas or ()),
                kinds[config.beta_schedule], config.rescale_betas_zero_snr)


def table_betas(schedule: Schedule) -> list[float]:
    """The schedule as the betas of its training timesteps."""
    count = schedule.timesteps
    alpha, _ = schedule.alpha_sigma(torch.arange(count + 1, dtype=torch.float64) * schedule.t_max / count)
    return (1 - (alpha[1:] / alpha[:-1]).square()).tolist()


def about(folder: Path) -> dict[str, Any] | None:
    """What fastdiff.json says; None where there is none."""
    try:
        return json.loads((folder / ABOUT).read_text())
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise FastdiffError(f"{folder / ABOUT} is damaged: remove the folder and run its stage again") from None


def fingerprint(path: str | Path) -> str:
    """What identifies a model: SHA-256 of its weights, and of a plain folder's settings; the id of one on the hub."""
    folder = Path(path).expanduser()
    if notes := about(folder):
        return notes["weights"]
    files = sorted([*folder.glob("*/*.safetensors"), *folder.glob("*/*.json")])
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest() if files else str(path)


def load(path: str | Path, device: torch.device | str = "cpu") -> Denoiser:
    """A model from a run's export, a diffusers pipeline folder or a hub id, in evaluation mode and float32."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        notes = about(folder)
        try:
            model = load_diffusers(str(folder)) if notes is None else load_export(folder, notes)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise FastdiffError(
                f"{folder} is damaged ({reason}): copy it again, or remove it and run its stage again") from None
    elif len(folder.parts) != 2 or folder.parent.is_dir() or str(path).startswith((".", "/", "~")):
        raise FastdiffError(f"{path}: no such folder; a model is a run's stage, a diffusers folder or a hub id")
    else:
        model = load_diffusers(str(path))
    return model.float().eval().requires_grad_(False).to(device)


def load_export(folder: Path, notes: dict[str, Any]) -> Denoiser:
    """A model that `export` wrote, its weights checked against their checksum."""
    kind = notes["network"]
    weights = next((folder / kind).glob("*.safetensors"), None)
    if weights is None or sha256(weights) != notes["weights"]:
        what = "is missing its weights" if weights is None else f"has damaged weights ({weights.name}: wrong checksum)"
        raise FastdiffError(f"{folder} {what}: copy it again, or remove it and run its stage again")
    schedule = {k: tuple(v) if isinstance(v, list) else v for k, v in notes["schedule"].items()}
    guidance = tuple(notes["guidance"]["weights"]) if notes.get("guidance") else None         # older files know of none
    return Denoiser(
        NETS[kind](folder / kind, notes["shape"], bool(guidance)), SCHEDULES[schedule.pop("name")](**schedule),
        notes["predicts"],
        tuple(notes["shape"]), notes["time_input"], notes["sigma_data"], notes["scale_input"], notes["two_times"],
        sampling_of(notes), guidance)


def sampling_of(notes: dict[str, Any]) -> Sampling:
    """How fastdiff.json says a model is to be sampled; older files know no times."""
    said = notes["sampling"]
    return Sampling(**said | {"steps": tuple(said["steps"]), "times": tuple(map(tuple, said.get("times", ())))})


def record_times(path: str | Path, times: Iterable[float]) -> None:
    """Note in a model's fastdiff.json the grid found for a step count; those of other step counts stay."""
    folder = Path(path).expanduser()
    notes = about(folder)
    if notes is None:
        raise FastdiffError(f"{folder} has no {ABOUT} to note the times in: export the model first")
    sampling = sampling_of(notes).with_times(times)
    write_json(folder / ABOUT, notes | {"sampling": asdict(sampling)})


def load_diffusers(path: str) -> Denoiser:
    """A DDPM or DDIM pipeline of diffusers with a UNet2DModel."""
    from diffusers import DDPMScheduler, DiffusionPipeline

    local = Path(path).expanduser().is_dir()
    if local and not (Path(path).expanduser() / "model_index.json").is_file():
        raise FastdiffError(f"{path} is no model: expected {ABOUT} or model_index.json in it; name a stage of a run")
    try:
        config = DiffusionPipeline.load_config(path, local_files_only=local)
        kind = config.get("_class_name")
        if kind not in PIPELINES or config["unet"][1] != "UNet2DModel":
            raise FastdiffError(f"{path}: this {kind} is not supported, only {', '.join(PIPELINES)} of a UNet2DModel")
        net = UNet2DModel.from_pretrained(path, subfolder="unet", local_files_only=local, use_safetensors=True)
        table = DDPMScheduler.from_pretrained(path, subfolder="scheduler", local_files_only=local).config
        schedule = table_of(table)
    except (OSError, SafetensorError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FastdiffError(f"{path}: cannot be loaded as a diffusers model ({reason})") from None
    predicts = {v: k for k, v in DIFFUSERS_NAMES.items()}[table.prediction_type]
    size, channels = net.config.sample_size, net.config.in_channels
    shape = (channels, *((size, size) if isinstance(size, int) else size))
    return Denoiser(UNet(net), schedule, predicts, shape)
