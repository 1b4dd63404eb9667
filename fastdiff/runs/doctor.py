"""The checks of `fastdiff doctor`: packages, devices, weights, folders, processes, and a short training."""

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

TRAINING_SECONDS = 2.0
SMALL_FOLDER = 2 * 2**30  # free bytes below which a check warns
ERROR_LETTERS = 300  # length limit of the text of an error that a check raises
DOCTOR_RECIPE = {
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


Verdict = Literal["ok", "note", "FAIL"]
Finding = tuple[Verdict, str]  # the verdict, and one line with the result and the remedy


class Check(NamedTuple):
    """The result of a check: its name, the verdict, and one line with the result and the remedy."""

    what: str
    verdict: Verdict
    message: str


def checks() -> Iterator[Check]:
    """Run all checks one by one and yield their results; a check that raises an error has failed."""
    for check in CHECKS:
        try:
            verdict, line = check()
        except Exception as error:
            verdict = "FAIL"
            line = " ".join(f"{type(error).__name__}: {error}".split())[:ERROR_LETTERS]
        yield Check(check.__name__, verdict, line)


def python() -> Finding:
    """Check the version of the interpreter."""
    required = metadata("fastdiff")["Requires-Python"] or ""
    version = platform.python_version()
    if version not in SpecifierSet(required):
        return "FAIL", f"Python {version}: expected {required}; create an environment with a newer Python"
    return "ok", f"{version} on {platform.platform(terse=True)}"


def packages() -> Finding:
    """Check that the required packages are installed in the right versions."""
    requirements = [Requirement(text) for text in requires("fastdiff") or ()]
    required = [one for one in requirements if not one.marker or one.marker.evaluate()]
    unmet = []
    for requirement in required:
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            installed = "missing"
        if installed == "missing" or not requirement.specifier.contains(installed, prereleases=True):
            unmet.append((requirement, installed))
    if unmet:
        state = ", ".join(f"{requirement.name} is {installed}" for requirement, installed in unmet)
        return "FAIL", f"{state}: pip install " + " ".join(f"'{requirement}'" for requirement, _ in unmet)
    return "ok", f"fastdiff {version('fastdiff')} and its {len(required)} required packages"


def torch() -> Finding:
    """Check that torch and torchvision fit together."""
    from torch import __version__
    from torch.version import cuda

    try:
        importlib.import_module("torchvision.ops")
    except (ImportError, RuntimeError) as error:
        return "FAIL", (
            f"torch {__version__}, but torchvision cannot be imported ({' '.join(str(error).split())[:80]}): "
            "install both from the same index, in one command"
        )
    build = f"with CUDA {cuda}" if cuda else "without CUDA"
    return "ok", f"{__version__}, {build}; torchvision {version('torchvision')}"


def text() -> Finding:
    """Check that diffusers and transformers, which models with prompts need, work together."""
    try:
        installed = version("transformers")
    except PackageNotFoundError:
        return "note", "no transformers: models with prompts need it; pip install 'fastdiff[text]'"
    try:
        importlib.import_module("diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion")
    except (ImportError, RuntimeError) as error:
        return "FAIL", (
            f"diffusers {version('diffusers')} does not work with transformers {installed} "
            f"({' '.join(str(error).split())[-80:]}): pip install -U diffusers transformers"
        )
    return "ok", f"transformers {installed} with diffusers {version('diffusers')}"


def devices() -> Finding:
    """List the GPUs with their memory."""
    from torch import cuda, get_num_threads

    if not cuda.is_available():
        return (
            "note",
            f"no GPU that torch can use: everything runs on the CPU, threads per process: "
            f"{get_num_threads()}",
        )
    gpus = [cuda.get_device_properties(i) for i in range(cuda.device_count())]
    return "ok", ", ".join(f"{gpu.name} with {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus)


def inception() -> Finding:
    """Check that the weights of the Inception network, which `fid` needs, are in torch's cache."""
    import torch.hub

    from ..evaluation.metrics.extractors import INCEPTION, URLS

    path = Path(torch.hub.get_dir()) / "checkpoints" / URLS[INCEPTION].rpartition("/")[2]
    if path.is_file():
        return "ok", f"{path}"
    return (
        "note",
        f"no {path}: downloaded when a benchmark first computes fid; without a network, put the file there, "
        "or images are judged by their pixels",
    )


def features() -> Finding:
    """Check that the feature network of `fd_digits`, which is part of the repository, can be opened."""
    from ..core.errors import FastdiffError
    from ..evaluation.metrics.extractors import open_extractor

    try:
        open_extractor("checkpoints/digits/features", "cpu")
    except FastdiffError as error:
        return "note", f"no benchmark on digits: {error}"
    return "ok", "checkpoints/digits/features, the feature network for digits"


def directory() -> Finding:
    """Check the working directory."""
    return check_folder(Path.cwd(), "work in another directory")


def checkpoints() -> Finding:
    """Check the folder of runs."""
    return check_folder(Path("checkpoints").resolve(), "write runs to another directory with --out")


def cache() -> Finding:
    """Check the cache folder, which holds statistics and latents of data sets."""
    from ..core.files import cache_folder

    return check_folder(cache_folder("reference"), "set FASTDIFF_CACHE to another directory")


def check_folder(folder: Path, remedy: str) -> Finding:
    """Check that a folder is writable and has free space; for a missing folder its nearest parent is checked.

    Args:
        folder: the folder.
        remedy: advice if the check fails.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"1")
    except OSError as error:
        return "FAIL", f"{folder} is not writable ({error.strerror}): {remedy}"
    free = shutil.disk_usage(existing).free
    line = f"{folder}, {free / 2**30:,.1f} GiB free"
    if free < SMALL_FOLDER:
        return "note", f"{line}: {remedy}, or make room"
    return "ok", line


def processes() -> Finding:
    """Check that a process group can be started, with this process as its only member."""
    import torch
    from torch import distributed

    if not distributed.is_available():
        return "note", "this build of torch cannot run several processes: use a single one"
    address = os.environ.get("GLOO_SOCKET_IFNAME", "")
    try:
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        distributed.all_reduce(torch.ones(1))
    except RuntimeError as error:
        present = f" ({address} is not one)" if address else ""
        return "FAIL", (
            f"gloo does not start ({' '.join(str(error).split())[:80]}): set GLOO_SOCKET_IFNAME to a network "
            f"interface of this machine{present}"
        )
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    return "ok", "a gloo group starts" + (", NCCL is available" if distributed.is_nccl_available() else "")


def training() -> Finding:
    """Train a small model on toy data for two seconds."""
    from ..core.accelerator import make_accelerator
    from ..methods import Progress
    from ..training.loop import Training
    from .recipe import build

    recipe = build(DOCTOR_RECIPE)
    [stage] = recipe.stages
    data = recipe.dataset()
    with tempfile.TemporaryDirectory() as folder:
        run = Training(
            stage.method,
            Progress,
            recipe.fresh_model(data),
            None,
            data,
            stage.train,
            Path(folder),
            make_accelerator(),
        )
        start = time.monotonic()
        for step, _ in run:  # noqa: B007 - its last value is used below
            if time.monotonic() - start > TRAINING_SECONDS:
                break
        seconds = time.monotonic() - start
    return "ok", (
        f"{step:,} steps of {stage.train.batch} points in {seconds:.1f} s, "
        f"{step * stage.train.batch / seconds:,.0f} points per second on {run.accelerator.device.type}"
    )


CHECKS: tuple[Callable[[], Finding], ...] = (
    python,
    packages,
    torch,
    text,
    devices,
    inception,
    features,
    directory,
    checkpoints,
    cache,
    processes,
    training,
)
