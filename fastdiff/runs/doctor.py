"""Checks of an installation: packages, devices, weights, folders, processes, and a training of two seconds."""

import importlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Literal, NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

SECONDS = 2.0  # of the training
ROOM = 2 * 2**30  # bytes below which a folder is called small
RECIPE = {
    "name": "doctor",
    "data": {"name": "toy"},
    "model": {"net": "mlp"},
    "stages": {
        "teacher": {
            "method": "denoising",
            "train": {"steps": 10**6, "save_every": 10**9, "save_minutes": 10**6},
        }
    },
}


class Check(NamedTuple):
    """What was looked at, how it is, and in a line what was found and what to do."""

    what: str
    verdict: Literal["ok", "note", "FAIL"]
    said: str


def checks() -> Iterator[Check]:
    """All checks, one after the other; one that fails in a way of its own says how."""
    for check in CHECKS:
        what = check.__name__
        try:
            yield Check(what, *check())
        except Exception as error:
            yield Check(what, "FAIL", " ".join(f"{type(error).__name__}: {error}".split())[:300])


Said = tuple[Literal["ok", "note", "FAIL"], str]


def python() -> Said:
    """The interpreter."""
    asked = metadata("fastdiff")["Requires-Python"] or ""
    if platform.python_version() not in SpecifierSet(asked):
        return (
            "FAIL",
            f"{platform.python_version()} where {asked} is asked: make an environment with a newer one",
        )
    return "ok", f"{platform.python_version()} on {platform.platform(terse=True)}"


def packages() -> Said:
    """What the project asks for, in the versions it asks for."""
    asked = [
        one for one in map(Requirement, requires("fastdiff") or ()) if not one.marker or one.marker.evaluate()
    ]
    wanting = []
    for one in asked:
        try:
            there = version(one.name)
        except PackageNotFoundError:
            there = "missing"
        if there == "missing" or not one.specifier.contains(there, prereleases=True):
            wanting.append((one, there))
    if wanting:
        lacking = ", ".join(f"{one.name} is {there}" for one, there in wanting)
        return "FAIL", f"{lacking}: pip install " + " ".join(f"'{one}'" for one, _ in wanting)
    return "ok", f"fastdiff {version('fastdiff')}, and the {len(asked)} packages that it asks for"


def torch() -> Said:
    """torch and its companion, which must be of one build."""
    from torch import __version__
    from torch.version import cuda

    try:
        importlib.import_module("torchvision.ops")
    except (ImportError, RuntimeError) as error:
        return "FAIL", (
            f"torch {__version__}, but torchvision does not import ({' '.join(str(error).split())[:80]}): "
            "install both from the same index, in one command"
        )
    return (
        "ok",
        f"{__version__}, {f'with CUDA {cuda}' if cuda else 'without CUDA'}; torchvision {version('torchvision')}",
    )


def devices() -> Said:
    """GPUs, with their memory."""
    from torch import cuda, get_num_threads

    if not cuda.is_available():
        return (
            "note",
            f"no GPU that torch can use: everything runs on the CPU, {get_num_threads()} threads a process",
        )
    gpus = [cuda.get_device_properties(i) for i in range(cuda.device_count())]
    return "ok", ", ".join(f"{gpu.name} with {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus)


def inception() -> Said:
    """The weights behind `fid`."""
    import torch.hub

    from ..evaluation.metrics.extractors import INCEPTION, URLS

    path = Path(torch.hub.get_dir()) / "checkpoints" / URLS[INCEPTION].rpartition("/")[2]
    if path.is_file():
        return "ok", f"{path}"
    return (
        "note",
        f"no {path}: fetched when a benchmark first needs fid; without a network put the file there",
    )


def features() -> Said:
    """The shipped network behind `fd_digits`."""
    from ..core.errors import FastdiffError
    from ..evaluation.metrics.extractors import open_extractor

    try:
        open_extractor("checkpoints/digits/features", "cpu")
    except FastdiffError as error:
        return "note", f"digits cannot be judged: {error}"
    return "ok", "checkpoints/digits/features, which judge digits"


def here() -> Said:
    """The working directory."""
    return room(Path.cwd(), "work in another directory")


def checkpoints() -> Said:
    """Where runs go."""
    return room(Path("checkpoints").resolve(), "give runs another directory with --out")


def cache() -> Said:
    """Where what was computed of data sets is kept."""
    from ..core.files import cache_folder

    return room(cache_folder("reference"), "set FASTDIFF_CACHE to another directory")


def room(folder: Path, remedy: str) -> Said:
    """Whether a folder, or what there is of its path, can be written, and how much it has room for."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"1")
    except OSError as error:
        return "FAIL", f"{folder} cannot be written ({error.strerror}): {remedy}"
    free = shutil.disk_usage(there).free
    small = free < ROOM
    return "note" if small else "ok", f"{folder}, {free / 2**30:,.1f} GiB free" + (
        f": {remedy}, or make room" * small
    )


def processes() -> Said:
    """Whether processes could talk to each other: a group of this one alone."""
    import torch
    from torch import distributed

    if not distributed.is_available():
        return "note", "this build of torch knows no processes: one at a time"
    address = os.environ.get("GLOO_SOCKET_IFNAME", "")
    try:
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        distributed.all_reduce(torch.ones(1))
    except RuntimeError as error:
        return "FAIL", (
            f"gloo does not start ({' '.join(str(error).split())[:80]}): set GLOO_SOCKET_IFNAME to a network "
            f"interface of this machine{f', {address} is none' if address else ''}"
        )
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    return "ok", "a gloo group starts" + (", NCCL is there" if distributed.is_nccl_available() else "")


def training() -> Said:
    """The loop itself, for two seconds on a toy."""
    import torch
    from accelerate import Accelerator

    from ..methods import Progress
    from ..training.loop import Training
    from .recipe import build

    recipe = build(RECIPE)
    (stage,), data = recipe.stages, recipe.dataset()
    with tempfile.TemporaryDirectory() as folder:
        run = Training(
            stage.method,
            Progress,
            recipe.fresh_model(data),
            None,
            data,
            stage.train,
            Path(folder),
            Accelerator(cpu=not torch.cuda.is_available()),
        )
        start = time.monotonic()
        for step, _ in run:  # noqa: B007 - the last one counts
            if time.monotonic() - start > SECONDS:
                break
        seconds = time.monotonic() - start
    return "ok", (
        f"{step:,} steps of {stage.train.batch} points in {seconds:.1f} s, "
        f"{step * stage.train.batch / seconds:,.0f} images a second on {run.accelerator.device.type}"
    )


CHECKS: tuple[Callable[[], Said], ...] = (
    python,
    packages,
    torch,
    devices,
    inception,
    features,
    here,
    checkpoints,
    cache,
    processes,
    training,
)
