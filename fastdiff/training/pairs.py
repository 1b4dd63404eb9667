"""Stored pairs of noise and a teacher's deterministic sample from it: the data for kd and reflow."""

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

PAIRS_FILE, PARTS_FOLDER = "pairs.safetensors", "parts"
PAIRS_PER_PART = 4096  # pairs in one part, the most that a kill can lose
NOISE_STREAM = 0x9A125  # changes the seed of the pairs' noise, so that no student is evaluated on it


@dataclass(frozen=True)
class Pairs:
    """Settings of stored pairs.

    Pair i is a function of (seed, i). If the teacher takes classes, its class is i modulo their number.

    Args:
        n: number of pairs, at least 1.
        sampler: deterministic sampler, a key of SAMPLERS.
        steps: number of steps of the sampler, at least 1.
        spacing: spacing of the sampler's times, a key of SPACINGS; None for the teacher's own.
        seed: seed of the noise.
    """

    n: Annotated[int, Field(ge=1, le=10**8)] = 4096
    sampler: str = "heun"
    steps: Annotated[int, Field(ge=1, le=10**6)] = 18
    spacing: str | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0

    def __post_init__(self) -> None:
        check_bounds(self)

    def plan(self, model: Denoiser) -> SamplingPlan:
        """Return the sampling plan for a teacher.

        Raises:
            FastdiffError: for a teacher that takes prompts or an image, a sampler that draws noise, or a
                sampler, spacing or number of steps that the teacher does not take.
        """
        if model.text or model.condition_channels:
            raise FastdiffError(
                "pairs: this teacher takes prompts or an image, which pairs do not store: choose another "
                "teacher"
            )
        way = plan(model, self.sampler, self.steps, self.spacing)
        if SAMPLERS[way.sampler].traits.draws_noise(way.sampler_options):
            raise FastdiffError(
                f"pairs: sampler {self.sampler} draws noise on the way, and a pair's sample must depend on "
                "its noise only: choose heun, ddim or another deterministic sampler"
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
    """Generate the pairs part by part, each split over the processes, and join the parts in one file.

    Args:
        folder: folder of the pairs. Parts that exist already must have the same origin.
        pairs: settings of the pairs.
        model: the teacher.
        origin: plain data that identifies the pairs, stored with them.
        accelerator: accelerator of this process.
        advance: function that is called with the number of pairs generated so far.
    """
    way = pairs.plan(model)
    model = model.to(accelerator.device)
    parts_folder = folder / PARTS_FOLDER
    with accelerator.main_process_first():
        forget_damaged(parts_folder)
    for start in range(0, pairs.n, PAIRS_PER_PART):
        end = min(start + PAIRS_PER_PART, pairs.n)
        part = parts_folder / f"{start:09d}.safetensors"
        if not part.exists():
            columns, nfe = make(model, way, pairs.seed ^ NOISE_STREAM, torch.arange(start, end), accelerator)
            if accelerator.is_main_process:
                store(part, columns, {"nfe": nfe, "sum": checksum(columns)})
        accelerator.wait_for_everyone()
        advance(end)
    if accelerator.is_main_process:
        parts = sorted(parts_folder.glob("[0-9]*.safetensors"))
        held = [load_file(part) for part in parts]
        columns = {name: torch.cat([part[name] for part in held]) for name in held[0]}
        nfe = round(sum(read_notes(part)["nfe"] for part in parts))
        store(folder / PAIRS_FILE, columns, {"origin": origin, "nfe": nfe})
        shutil.rmtree(parts_folder)


def make(
    model: Denoiser, way: SamplingPlan, seed: int, numbers: Tensor, accelerator: Accelerator
) -> tuple[Columns, float]:
    """Generate the pairs with the given numbers, split over the processes.

    Args:
        model: the teacher, on the device.
        way: sampling plan of the teacher.
        seed: seed of the noise.
        numbers: numbers (n,) of the pairs.
        accelerator: accelerator of this process.

    Returns:
        The columns x0 and eps (n, ...) and, for a teacher with classes, label (n,), whole on every process;
        and the number of network evaluations (NFE) that they cost.
    """
    world = accelerator.num_processes
    count = len(numbers)
    # Process r generates numbers r, r + world, ...; if they do not divide, some generate the last one again.
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
    """Gather the rows (n, ...) of all processes: row i of process r moves to row i * world + r."""
    by_process = accelerator.gather(column).unflatten(0, (accelerator.num_processes, -1))
    return by_process.transpose(0, 1).flatten(0, 1)


def done(folder: Path) -> int:
    """Return the number of pairs in the finished parts."""
    return PAIRS_PER_PART * len(list((folder / PARTS_FOLDER).glob("[0-9]*.safetensors")))


def read_pair_notes(folder: Path) -> dict[str, Any] | None:
    """Return the metadata of stored pairs: origin, and nfe, the evaluations that they cost; None without any.

    Raises:
        FastdiffError: if the file is damaged.
    """
    if not (folder / PAIRS_FILE).is_file():
        return None
    try:
        notes = read_notes(folder / PAIRS_FILE)
        if set(notes) >= {"origin", "nfe"} and isinstance(notes["nfe"], int):
            return notes
        raise ValueError("neither origin nor nfe")
    except (SafetensorError, OSError, ValueError, AttributeError):
        raise damaged(folder) from None


def load_pairs(folder: Path, like: Readable) -> Dataset:
    """Load stored pairs as a data set.

    Args:
        folder: folder of the pairs.
        like: data set whose number of classes is used.

    Raises:
        FastdiffError: if the folder has no pairs, or the file is damaged.
    """
    if read_pair_notes(folder) is None:
        raise FastdiffError(f"{folder} holds no {PAIRS_FILE}: name a stage with pairs, and run it first")
    columns = load_file(folder / PAIRS_FILE)
    if "x0" not in columns or "eps" not in columns or columns["x0"].shape != columns["eps"].shape:
        raise damaged(folder)
    labels = columns.get("label")
    if labels is not None and len(labels) != len(columns["x0"]):
        raise damaged(folder)
    return Dataset(f"pairs of {folder.name}", columns["x0"], labels, like.classes, columns["eps"])


def damaged(folder: Path) -> FastdiffError:
    """Return the error for a damaged file of pairs."""
    return FastdiffError(f"{folder / PAIRS_FILE} is damaged: remove the folder and run its stage again")
