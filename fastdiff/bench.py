"""The sweep: models x samplers x steps x seeds -> rows."""

import platform
import resource
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from accelerate import Accelerator

from .checkpoint import about, fingerprint, load
from .data import Dataset
from .denoiser import Denoiser
from .errors import FastdiffError
from .evaluate import open_evaluator
from .generate import check_labels, generate, plan
from .likelihood import nll
from .pictures import picture, save
from .rows import append_row, identity, read_rows
from .samplers import SAMPLERS, SPACINGS

STRIP = 16          # samples of a cell that are kept as its picture
POINTS = 1000


@dataclass(frozen=True)
class BenchConfig:
    """What is measured. baselines, of the teacher: "sampler:steps" or "sampler/spacing:steps"; options as in ddim[eta=0.5].

    The teacher's DDIM at `steps` is always among them. n: samples a cell and seed. clip: bound of |x0| while sampling.
    models: the students to measure, None for all. metrics: "nll", the bits per dimension of the
    data's first n examples under each model that is sampled by solving its ODE; a student that jumps has none.
    """

    steps: tuple[int, ...] = (1, 2, 4, 8)
    baselines: tuple[str, ...] = ("ddim:50", "ddpm:1000", "dpmpp_2m:4", "dpmpp_2m:8")
    n: int = 2000
    seeds: tuple[int, ...] = (0,)
    batch: int = 512
    extractor: str | None = None
    teacher: str | None = None
    models: tuple[str, ...] | None = None
    clip: float | None = None
    guidance: float = 1.0
    metrics: tuple[Literal["nll"], ...] = ()

    def __post_init__(self):
        for what, least in (("n", 2), ("batch", 1)):
            if getattr(self, what) < least:
                raise FastdiffError(f"bench.{what} = {getattr(self, what)}: expected at least {least}")
        if not self.steps or min(self.steps) < 1:
            raise FastdiffError(f"bench.steps = {list(self.steps)}: expected step counts of at least 1")
        if not self.seeds:
            raise FastdiffError("bench.seeds = []: expected at least one")
        if self.clip is not None and not self.clip > 0:
            raise FastdiffError(f"bench.clip = {self.clip}: expected a bound above 0, or null for none")
        if unknown := set(self.metrics) - {"nll"}:
            raise FastdiffError(f"bench.metrics: {min(unknown)!r} is unknown, choose from nll")
        for text in self.baselines:
            baseline(text)


class Cell(NamedTuple):
    """One line of the table before its seeds: a model and how it is sampled."""

    model: str
    sampler: str
    spacing: str
    steps: int

    def __str__(self) -> str:
        return f"{self.model}-{self.sampler}-{'times' if ',' in self.spacing else self.spacing}-{self.steps}"


def baseline(text: str) -> tuple[str, str, int]:
    """"ddpm:1000", "dpmpp_2m/karras:8" or "ode45[rtol=0.001]:1" -> sampler with its options, spacing, steps."""
    how, _, steps = text.rpartition(":")
    sampler, _, spacing = how.partition("/")
    name = sampler.partition("[")[0]
    grid = (spacing or "uniform").partition("[")[0]
    if name not in SAMPLERS or grid not in SPACINGS or not steps.isdecimal() or int(steps) < 1:
        raise FastdiffError(f"baseline {text!r}: expected sampler:steps or sampler/spacing:steps with a sampler of "
                            f"{', '.join(SAMPLERS)} and a spacing of {', '.join(SPACINGS)}")
    return sampler, spacing or "uniform", int(steps)


def cells(models: dict[str, Denoiser], teacher: str | None, config: BenchConfig) -> list[Cell]:
    """The teacher's baselines and each student at its step counts, the cheap ones first."""
    found = []
    if teacher is not None:
        hows = [("ddim", "uniform", k) for k in config.steps] + [baseline(text) for text in config.baselines]
        found += [Cell(teacher, *how) for how in dict.fromkeys(hows)]
    for name, model in models.items():
        own = model.sampling
        if name != teacher and (config.models is None or name in config.models):
            counts = own.steps if own.only else config.steps
            found += [Cell(name, own.sampler, spacing_text(own.spacing_for(k)), k) for k in counts]
    return sorted(found, key=lambda cell: cell.steps)


def spacing_text(spacing: str | tuple[float, ...]) -> str:
    """A spacing as text: its name, or the times that were found for the model."""
    return spacing if isinstance(spacing, str) else ",".join(map(repr, spacing))


def sweep(models: dict[str, str | Path], dataset: Dataset, config: BenchConfig, out: str | Path, *,
          teacher: str | None = None, accelerator: Accelerator | None = None) -> Iterator[dict[str, Any]]:
    """Measure every cell with every seed and append its row to out/bench.jsonl; rows already there are read back.

    models: name -> path. teacher: the model that gets the baselines. Yields the rows, in order, on every process.
    """
    accelerator, out = accelerator or Accelerator(cpu=not torch.cuda.is_available()), Path(out)
    if teacher is not None and teacher not in models:
        raise FastdiffError(f"teacher {teacher!r} is not among the models {', '.join(models)}")
    loaded = {name: load(path, accelerator.device) for name, path in models.items()}
    notes = {name: about(Path(path).expanduser()) or {} for name, path in models.items()}
    for name, model in loaded.items():
        check_fit(name, model, dataset, config)
    wanted = cells(loaded, teacher, config)
    for cell in wanted:
        plan(loaded[cell.model], cell.sampler, cell.steps, cell.spacing, {})     # complains before hours of work
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FastdiffError(f"{out} cannot be written ({error.strerror}): choose another directory with --out") from None
    evaluator = open_evaluator(dataset, config.extractor, accelerator.device, out / "reference")
    path = out / "bench.jsonl"
    bits: dict[str, float | None] = {}
    done = {row["key"]: row for row in (read_rows(path) if path.exists() else [])}
    for cell in wanted:
        for seed in config.seeds:
            what = {**cell._asdict(), "guidance": config.guidance, "clip": config.clip, "seed": seed, "n": config.n,
                    "extractor": evaluator.extractor, "reference": evaluator.reference,
                    "weights": fingerprint(models[cell.model])}
            key = identity(**what)
            row = before = done.get(key)
            if row is None:
                figures = measure(loaded[cell.model], cell, seed, dataset, evaluator, config, out, accelerator)
                row = {"key": key, **what, **figures, **provenance(notes[cell.model], accelerator)}
            if "nll" in config.metrics and "nll" not in row:              # a row measured before is not measured again
                if cell.model not in bits:
                    bits[cell.model] = likelihood(loaded[cell.model], dataset, config, accelerator)
                row = row | {"nll": bits[cell.model]}
            if row is not before and accelerator.is_main_process:
                append_row(path, row)
            done[key] = row
            yield row


def check_fit(name: str, model: Denoiser, dataset: Dataset, config: BenchConfig) -> None:
    """Refuse a model that this data cannot judge."""
    if tuple(model.shape) != tuple(dataset.shape):
        raise FastdiffError(f"model {name} makes samples of shape {tuple(model.shape)}, the data {dataset.name} have "
                            f"{tuple(dataset.shape)}: choose the data it was trained on")
    if model.net.null_label is not None and dataset.labels is not None:
        check_labels(model, dataset.labels)
    elif config.guidance != 1:
        raise FastdiffError(f"bench.guidance = {config.guidance}: needs labels, of the model {name} and of the data")


def measure(model: Denoiser, cell: Cell, seed: int, dataset: Dataset, evaluator: Any, config: BenchConfig, out: Path,
            accelerator: Accelerator) -> dict[str, Any]:
    """Generate this process's share of a cell, in batches, and measure all of it."""
    sampler, times, how = plan(model, cell.sampler, cell.steps, cell.spacing, {"clip": config.clip} if config.clip else {})
    mine = torch.arange(config.n)[accelerator.process_index :: accelerator.num_processes]
    labelled = model.net.null_label is not None and dataset.labels is not None
    labels = dataset.labels[torch.arange(config.n) % len(dataset)] if labelled else None
    options = {"seed": seed, "guidance": config.guidance, **how}
    warm_up = times[[0, -1]]                                              # one evaluation at the real batch size
    for _ in generate(model, "ddim", warm_up, mine[: config.batch], labels=None, batch=config.batch):
        pass
    if accelerator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds, spent, first, keep = 0.0, 0, [], STRIP if len(dataset.shape) == 3 else POINTS
    making = generate(model, sampler, times, mine, labels=labels[mine] if labels is not None else None, batch=config.batch,
                      **options)
    while True:
        start = time.perf_counter()
        made = next(making, None)
        if accelerator.device.type == "cuda":
            torch.cuda.synchronize()
        if made is None:
            break
        seconds += time.perf_counter() - start
        spent += made.nfe * len(made.indices)
        evaluator.add(made.indices, made.x)
        if len(first) * config.batch < keep:
            first.append(made.x.cpu())
    figures = evaluator.result(accelerator)
    if accelerator.is_main_process and seed == config.seeds[0]:
        strip = next(generate(model, sampler, times, torch.arange(min(keep, config.n)), batch=keep,
                              labels=labels[: min(keep, config.n)] if labels is not None else None, **options)).x if (
            accelerator.num_processes > 1) else torch.cat(first)[:keep]
        save(picture(strip, columns=STRIP), out / "samples" / f"{cell}.png")
    rate = config.n / seconds
    nfe = spent / max(1, len(mine))                                       # an adaptive solver's differs by batch
    return {"nfe": int(nfe) if nfe == int(nfe) else round(nfe, 2), **figures, "ms_per_image": 1000 / rate,
            "images_per_s": rate, "peak_mb": peak_mb(accelerator.device), "cell": str(cell)}


def likelihood(model: Denoiser, dataset: Dataset, config: BenchConfig, accelerator: Accelerator) -> float | None:
    """Bits per dimension of the data's first n examples, on all processes; None of a student that jumps."""
    if model.sampling.only or model.sampling.sampler in ("consistency", "gamma"):
        return None
    n = min(config.n, len(dataset))
    mine = torch.arange(n)[accelerator.process_index :: accelerator.num_processes]
    labelled, total = model.net.null_label is not None, torch.zeros((), dtype=torch.float64, device=accelerator.device)
    for rows in mine.split(config.batch):
        x0, cond = dataset.get(rows)
        cond = {name: value.to(accelerator.device) for name, value in cond.items()} if labelled and cond else None
        levels = 256 if dataset.examples.dtype == torch.uint8 else None
        total += nll(model, x0.to(accelerator.device), cond=cond, levels=levels, indices=rows).double().sum()
    return float(accelerator.reduce(total)) / n


def peak_mb(device: torch.device) -> float:
    """The most memory held: on a GPU by this cell, on a CPU by the process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def provenance(notes: dict[str, Any], accelerator: Accelerator) -> dict[str, Any]:
    """What made a row, and what the model cost to train."""
    cost = notes.get("cost", {})
    gpu = accelerator.device.type == "cuda"
    return {
        "method": notes.get("method"), "params": notes.get("params"), "ema": notes.get("ema"),
        "train_images": cost.get("images"), "train_seconds": cost.get("seconds"), "teacher_nfe": cost.get("teacher_nfe"),
        "device": torch.cuda.get_device_name() if gpu else f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        "processes": accelerator.num_processes,
        "versions": {p: version(p) for p in ("fastdiff", "torch", "diffusers", "torch-fidelity")},
        "commit": commit(), "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def commit() -> str | None:
    """The source tree's commit, with + where the package has changes; None where git does not track the package."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], capture_output=True, check=True)
        head, changes = (subprocess.run([*git, *words], capture_output=True, text=True, check=True).stdout.strip()
                         for words in (("rev-parse", "--short=10", "HEAD"), ("status", "--porcelain", "--", ".")))
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changes else "")
