"""Stored pairs of noise and what a teacher's deterministic sampler makes of it: the data of kd and reflow."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from .data import Dataset
from .denoiser import Denoiser
from .errors import FastdiffError
from .generate import generate, plan
from .rng import SampleRng
from .samplers import SAMPLERS

FILE = "pairs.safetensors"
STREAM = 0x9A125      # of the pairs' noise: no student is judged on noise that it has learned by heart


@dataclass(frozen=True)
class Pairs:
    """n pairs; number i is a function of (seed, i), and of class i modulo the classes where the teacher takes them."""

    n: int = 4096
    sampler: str = "heun"
    steps: int = 18
    spacing: str | None = None                            # the teacher's own
    seed: int = 0

    def __post_init__(self):
        for what, least, most in (("n", 1, 10**8), ("steps", 1, 10**6), ("seed", 0, 2**63 - 1)):
            if not least <= getattr(self, what) <= most:
                raise FastdiffError(f"{what} = {getattr(self, what)}: expected {least} to {most}")

    def plan(self, model: Denoiser) -> tuple[Any, ...]:
        """The sampler, its grid and its options for a teacher; one that draws noise on the way is refused."""
        name, times, options = plan(model, self.sampler, self.steps, self.spacing, {})
        fresh = SAMPLERS[name].traits["noise"]            # none, "every step", or "where eta > 0"
        if fresh != "none" and not (fresh.startswith("where") and not options.get(fresh.split()[1])):
            raise FastdiffError(f"pairs: sampler {self.sampler} draws noise on the way, and a pair's sample is made of its "
                                "noise alone: choose heun, ddim or another that draws none")
        return name, times, options


def write(folder: Path, pairs: Pairs, model: Denoiser, origin: dict[str, Any], accelerator: Accelerator,
          advance: Callable[[int], None]) -> None:
    """Make the pairs, shared among the processes; the file is written to a temporary name, synced and renamed."""
    sampler, times, options = pairs.plan(model)
    model, world, seed = model.to(accelerator.device), accelerator.num_processes, pairs.seed ^ STREAM
    own = (torch.arange(ceil(pairs.n / world)) * world + accelerator.process_index).clamp(max=pairs.n - 1)
    labels = None if getattr(model.net, "null_label", None) is None else own % model.net.null_label
    x0, nfe = [], 0
    for made in generate(model, sampler, times, own, seed=seed, labels=labels, **options):
        x0.append(made.x.float())
        nfe += made.nfe * len(made.x)
        advance(min(pairs.n, world * sum(map(len, x0))))
    columns = {"x0": torch.cat(x0), "eps": SampleRng(seed, own, accelerator.device).normal(model.shape)}
    columns |= {} if labels is None else {"label": labels.to(accelerator.device)}
    # Process r has numbers r, r + world, ...: the rows of all are dealt back in their order.
    columns = {name: accelerator.gather(column).unflatten(0, (world, -1)).transpose(0, 1).flatten(0, 1)[: pairs.n]
               for name, column in columns.items()}
    if accelerator.is_main_process:
        scratch = folder / f".{FILE}.new"
        save_file({name: column.cpu().contiguous() for name, column in columns.items()}, scratch,
                  {"origin": json.dumps(origin), "nfe": str(round(nfe / len(own) * pairs.n))})
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(folder / FILE)


def about(folder: Path) -> dict[str, Any] | None:
    """What a file of pairs says: origin, and nfe, the teacher's evaluations that it cost. None where there is none."""
    if not (folder / FILE).is_file():
        return None
    try:
        with safe_open(folder / FILE, "pt") as file:
            return {name: json.loads(value) for name, value in file.metadata().items()}
    except (SafetensorError, OSError, ValueError, AttributeError):
        raise FastdiffError(f"{folder / FILE} is damaged: remove the folder and run its stage again") from None


def read(folder: Path, like: Dataset) -> Dataset:
    """Pairs as a data set, with the classes of the data that they stand for."""
    if about(folder) is None:
        raise FastdiffError(f"{folder} holds no {FILE}: name a stage with pairs, and run it first")
    columns = load_file(folder / FILE)
    return replace(like, name=f"pairs of {folder.name}", examples=columns["x0"], labels=columns.get("label"),
                   noise=columns["eps"])
