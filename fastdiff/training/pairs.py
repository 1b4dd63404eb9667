"""Stored pairs of noise and a teacher's deterministic sample from it: the data of kd and reflow."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Annotated, Any

import torch
from accelerate import Accelerator
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.rng import SampleRng
from ..core.validation import check_bounds
from ..data.dataset import Dataset, Readable
from ..data.shards import Columns, checksum, forget_damaged, read_notes, store
from ..samplers import SAMPLERS
from ..samplers.generate import generate
from ..samplers.plan import SamplingPlan, plan

FILE, PARTS = "pairs.safetensors", "parts"
PART = 4096  # pairs in a part: what a kill can cost
STREAM = 0x9A125  # of the pairs' noise: no student is judged on noise that it has learned by heart


@dataclass(frozen=True)
class Pairs:
    """Settings of stored pairs.

    Pair i is a function of (seed, i), and of class i modulo the classes where the teacher takes them.

    Args:
        n: number of pairs.
        sampler: a key of SAMPLERS that draws no noise.
        steps: of the sampler.
        spacing: of the sampler's times; None for the teacher's own.
        seed: of the noise.
    """

    n: Annotated[int, Field(ge=1, le=10**8)] = 4096
    sampler: str = "heun"
    steps: Annotated[int, Field(ge=1, le=10**6)] = 18
    spacing: str | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0

    def __post_init__(self) -> None:
        check_bounds(self)

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
    """Make the pairs part by part, each shared among the processes, and join the parts in one file.

    Args:
        folder: where they are stored. Parts that are there already must be of the same origin.
        pairs: the settings.
        model: the teacher.
        origin: what identifies the pairs, stored with them.
        accelerator: of this process.
        advance: called with the number of pairs made so far.
    """
    way = pairs.plan(model)
    model = model.to(accelerator.device)
    parts_folder = folder / PARTS
    with accelerator.main_process_first():
        forget_damaged(parts_folder)
    for start in range(0, pairs.n, PART):
        end = min(start + PART, pairs.n)
        part = parts_folder / f"{start:09d}.safetensors"
        if not part.exists():
            columns, nfe = make(model, way, pairs.seed ^ STREAM, torch.arange(start, end), accelerator)
            if accelerator.is_main_process:
                store(part, columns, {"nfe": nfe, "sum": checksum(columns)})
        accelerator.wait_for_everyone()
        advance(end)
    if accelerator.is_main_process:
        parts = sorted(parts_folder.glob("[0-9]*.safetensors"))
        held = [load_file(part) for part in parts]
        columns = {name: torch.cat([part[name] for part in held]) for name in held[0]}
        nfe = round(sum(read_notes(part)["nfe"] for part in parts))
        store(folder / FILE, columns, {"origin": origin, "nfe": nfe})
        shutil.rmtree(parts_folder)


def make(
    model: Denoiser, way: SamplingPlan, seed: int, numbers: Tensor, accelerator: Accelerator
) -> tuple[Columns, float]:
    """Make the pairs of some numbers, each process its share.

    Returns:
        The columns x0 and eps (n, ...) and, of a teacher with classes, label (n,), whole on every process;
        and the teacher's evaluations that they cost.
    """
    world = accelerator.num_processes
    count = len(numbers)
    # Process r makes numbers r, r + world, ...; where they do not divide, some make the last one again.
    own_places = torch.arange(ceil(count / world)) * world + accelerator.process_index
    own = numbers[own_places.clamp(max=count - 1)]
    labels = None if model.classes is None else own % model.classes
    cond = None if labels is None else {"label": labels}
    made = list(generate(model, way, own, seed=seed, cond=cond, decoded=False))
    columns = {
        "x0": torch.cat([part.x.float() for part in made]),
        "eps": SampleRng(seed, own, accelerator.device).normal(model.shape),
    }
    if labels is not None:
        columns["label"] = labels.to(accelerator.device)
    nfe = sum(part.nfe * len(part.x) for part in made) / len(own) * count
    return {name: interleaved(accelerator, column)[:count] for name, column in columns.items()}, nfe


def interleaved(accelerator: Accelerator, column: Tensor) -> Tensor:
    """Gather the rows of all processes, row i of process r at place i * world + r."""
    by_process = accelerator.gather(column).unflatten(0, (accelerator.num_processes, -1))
    return by_process.transpose(0, 1).flatten(0, 1)


def done(folder: Path) -> int:
    """Return how many of the pairs are made already."""
    return PART * len(list((folder / PARTS).glob("[0-9]*.safetensors")))


def about(folder: Path) -> dict[str, Any] | None:
    """Return the notes in a file of pairs: origin, and nfe, the teacher's evaluations; None without a file.

    Raises:
        FastdiffError: if the file is damaged.
    """
    if not (folder / FILE).is_file():
        return None
    try:
        notes = read_notes(folder / FILE)
        if set(notes) >= {"origin", "nfe"} and isinstance(notes["nfe"], int):
            return notes
        raise ValueError("neither origin nor nfe")
    except (SafetensorError, OSError, ValueError, AttributeError):
        raise damaged(folder) from None


def read(folder: Path, like: Readable) -> Dataset:
    """Load pairs as a data set, with the number of classes of the data `like`.

    Raises:
        FastdiffError: if there are none, or the file is damaged.
    """
    if about(folder) is None:
        raise FastdiffError(f"{folder} holds no {FILE}: name a stage with pairs, and run it first")
    columns = load_file(folder / FILE)
    if "x0" not in columns or "eps" not in columns or columns["x0"].shape != columns["eps"].shape:
        raise damaged(folder)
    labels = columns.get("label")
    if labels is not None and len(labels) != len(columns["x0"]):
        raise damaged(folder)
    return Dataset(f"pairs of {folder.name}", columns["x0"], labels, like.classes, columns["eps"])


def damaged(folder: Path) -> FastdiffError:
    """Return the error of a damaged file of pairs."""
    return FastdiffError(f"{folder / FILE} is damaged: remove the folder and run its stage again")
