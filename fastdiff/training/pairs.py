"""Stored pairs of noise and what a teacher's deterministic sampler makes of it: the data of kd and reflow."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.rng import SampleRng
from ..data.registry import Dataset, Readable
from ..data.shards import checksum, forget_damaged, said, store
from ..samplers import SAMPLERS
from ..samplers.generate import generate
from ..samplers.plan import SamplingPlan, plan

FILE, PARTS = "pairs.safetensors", "parts"
PART = 4096  # pairs in a part: what a kill can cost
STREAM = 0x9A125  # of the pairs' noise: no student is judged on noise that it has learned by heart


@dataclass(frozen=True)
class Pairs:
    """n pairs; number i is a function of (seed, i), and of class i modulo the classes where the teacher takes them."""

    n: int = 4096
    sampler: str = "heun"
    steps: int = 18
    spacing: str | None = None  # the teacher's own
    seed: int = 0

    def __post_init__(self) -> None:
        for what, least, most in (("n", 1, 10**8), ("steps", 1, 10**6), ("seed", 0, 2**63 - 1)):
            if not least <= getattr(self, what) <= most:
                raise FastdiffError(f"{what} = {getattr(self, what)}: expected {least} to {most}", key=what)

    def plan(self, model: Denoiser) -> SamplingPlan:
        """Return how a teacher is sampled; FastdiffError for a sampler that draws noise on the way."""
        if model.text or model.condition_channels:
            raise FastdiffError(
                "pairs: this teacher is told prompts or an image, of which pairs hold nothing"
            )
        way = plan(model, self.sampler, self.steps, self.spacing)
        if SAMPLERS[way.sampler].traits.draws_noise(way.sampler_options):
            raise FastdiffError(
                f"pairs: sampler {self.sampler} draws noise on the way, and a pair's sample is made of its "
                "noise alone: choose heun, ddim or another that draws none"
            )
        return way


def write(
    folder: Path,
    pairs: Pairs,
    model: Denoiser,
    origin: dict[str, Any],
    accelerator: Accelerator,
    advance: Callable[[int], None],
) -> None:
    """Make the pairs, shared among the processes, part by part; parts that are there already are of the same origin."""
    way, model = pairs.plan(model), model.to(accelerator.device)
    with accelerator.main_process_first():
        forget_damaged(folder / PARTS)
    for start in range(0, pairs.n, PART):
        place, end = folder / PARTS / f"{start:09d}.safetensors", min(start + PART, pairs.n)
        if not place.exists():
            columns, nfe = make(model, way, pairs.seed ^ STREAM, torch.arange(start, end), accelerator)
            if accelerator.is_main_process:
                store(place, columns, {"nfe": nfe, "sum": checksum(columns)})
        accelerator.wait_for_everyone()
        advance(end)
    if accelerator.is_main_process:
        parts = sorted((folder / PARTS).glob("[0-9]*.safetensors"))
        held = [load_file(part) for part in parts]
        columns = {name: torch.cat([part[name] for part in held]) for name in held[0]}
        nfe = round(sum(said(part)["nfe"] for part in parts))
        store(folder / FILE, columns, {"origin": origin, "nfe": nfe})
        shutil.rmtree(folder / PARTS)


def make(
    model: Denoiser, way: SamplingPlan, seed: int, numbers: Tensor, accelerator: Accelerator
) -> tuple[dict[str, Tensor], float]:
    """Pairs of these numbers, whole on every process, and the teacher's evaluations that they cost."""
    world, count = accelerator.num_processes, len(numbers)
    own = numbers[
        (torch.arange(ceil(count / world)) * world + accelerator.process_index).clamp(max=count - 1)
    ]
    labels = None if model.classes is None else own % model.classes
    cond = None if labels is None else {"label": labels}
    made = list(generate(model, way, own, seed=seed, cond=cond, decoded=False))
    columns = {
        "x0": torch.cat([part.x.float() for part in made]),
        "eps": SampleRng(seed, own, accelerator.device).normal(model.shape),
    }
    columns |= {} if labels is None else {"label": labels.to(accelerator.device)}
    # Process r has numbers r, r + world, ...: the rows of all are dealt back in their order.
    columns = {
        name: accelerator.gather(column).unflatten(0, (world, -1)).transpose(0, 1).flatten(0, 1)[:count]
        for name, column in columns.items()
    }
    return columns, sum(part.nfe * len(part.x) for part in made) / len(own) * count


def done(folder: Path) -> int:
    """How many of the pairs are made already."""
    return PART * len(list((folder / PARTS).glob("[0-9]*.safetensors")))


def about(folder: Path) -> dict[str, Any] | None:
    """What a file of pairs says: origin, and nfe, the teacher's evaluations that it cost. None where there is none."""
    if not (folder / FILE).is_file():
        return None
    try:
        notes = said(folder / FILE)
        if set(notes) >= {"origin", "nfe"} and isinstance(notes["nfe"], int):
            return notes
        raise ValueError("neither origin nor nfe")
    except (SafetensorError, OSError, ValueError, AttributeError):
        raise FastdiffError(
            f"{folder / FILE} is damaged: remove the folder and run its stage again"
        ) from None


def read(folder: Path, like: Readable) -> Dataset:
    """Pairs as a data set, with the classes of the data that they stand for."""
    if about(folder) is None:
        raise FastdiffError(f"{folder} holds no {FILE}: name a stage with pairs, and run it first")
    columns = load_file(folder / FILE)
    shapes = {name: columns[name].shape for name in ("x0", "eps") if name in columns}
    if (
        len(shapes) < 2
        or shapes["x0"] != shapes["eps"]
        or len(columns.get("label", columns["x0"])) != len(columns["x0"])
    ):
        raise FastdiffError(f"{folder / FILE} is damaged: remove the folder and run its stage again")
    return Dataset(
        f"pairs of {folder.name}", columns["x0"], columns.get("label"), like.classes, columns["eps"]
    )
