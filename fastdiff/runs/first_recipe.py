"""The first recipe for a data set: short, commented, and fit for a given training time on this machine."""

import time
from dataclasses import dataclass, replace
from math import floor, log10
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml

from ..core.defaults import float32_on_cpu
from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..data.registry import DATASETS, Dataset, Nothing, open_dataset
from ..evaluation.feature_training import name_of
from ..evaluation.profiling.training import make_training
from ..methods import METHODS
from .recipe import build
from .recipe_file import parse

# Shares of the time: the rest is for starting, loading and sheets of samples.
TEACHER_SHARE = 0.5
STUDENT_SHARE = 0.3
BENCH_SHARE = 0.15
STUDENT_STEPS = (4, 2, 1)  # step counts of the chain of students
BASELINE_STEPS = 50
WANTED_STEPS = 4000  # training steps of the teacher that a network is chosen for
LEAST_STEPS = 10
TIMED_STEPS = 3
LARGEST_SIDE = 64  # pixels; larger images are resized
SAMPLES = (32, 2000)  # fewest and most samples per row of the benchmark
BATCH = {"cpu": 32, "cuda": 128}
WIDTHS = (
    16,
    24,
    32,
    48,
    64,
    96,
    128,
)  # channels of the finest maps, from the smallest network to the largest


@dataclass(frozen=True)
class Candidate:
    """A network for the data, with its speed.

    Args:
        net: settings of the network, as in a recipe.
        params: number of parameters.
        teacher_seconds: time of a training step of the teacher.
        student_seconds: time of a training step of a student; 0 if it was not measured.
    """

    net: dict[str, Any]
    params: int
    teacher_seconds: float
    student_seconds: float = 0.0


@float32_on_cpu()
def first_recipe(
    data: str,
    minutes: float = 30,
    resolution: int | None = None,
    colour: str | None = None,
    device: str = "cpu",
    path: str | Path = "recipe.yaml",
) -> str:
    """Write the text of a recipe for a data set: a teacher, a chain of students, and a benchmark.

    The network is the largest with which the teacher makes WANTED_STEPS steps in its share of the time, as
    measured in a few steps on this machine; the smallest if none does.

    Args:
        data: name, path or hub id of the data set.
        minutes: time for training and benchmark together, above 0.
        resolution: side in pixels of the images. None: that of the first image, at most 64.
        colour: "rgb" or "grey". None: grey if all images are.
        device: device of the training, "cpu" or "cuda".
        path: file of the recipe, for the commands in its comments.

    Returns:
        The text of the recipe.

    Raises:
        FastdiffError: for data that cannot be read or have no examples, and for a time that is not positive.
    """
    if not 0 < minutes < float("inf"):
        raise FastdiffError(f"minutes = {minutes:g}: expected a time above 0")
    section, dataset = opened(data, resolution, colour)
    fixed = {
        "name": name_of(data),
        "data": section,
        "model": {"schedule": "cosine", "predicts": "v"} | ({"labels": True} if dataset.classes > 1 else {}),
        "batch": min(BATCH[device], len(dataset)),
    }
    chosen = fastest_fit(fixed, dataset, minutes, device)
    text = recipe_text(fixed, dataset, chosen, minutes, device, path)
    build(parse(text, "recipe"))  # raises if it were not valid
    return text


def opened(data: str, resolution: int | None, colour: str | None) -> tuple[dict[str, Any], Dataset]:
    """Open a data set with a size and a colour that fit.

    Args:
        data: name, path or hub id of the data set.
        resolution: side in pixels; None to choose one.
        colour: "rgb" or "grey"; None to find it out.

    Returns:
        The section `data` of a recipe, and the data set.
    """
    options = {"resolution": resolution, "colour": colour}
    options = {key: value for key, value in options.items() if value is not None}
    if data in DATASETS:
        dataset = open_dataset(data, **options).reference
        if isinstance(dataset, Nothing):
            raise FastdiffError(f"data {data}: expected a data set with examples")
        return {"name": data, **options}, dataset
    if resolution is None:
        first = open_dataset(data, limit=1, **options)
        options["resolution"] = side_for(min(first.shape[1:]))
    dataset = open_dataset(data, **options)
    if colour is None and dataset.examples.eq(dataset.examples[:, :1]).all():
        options["colour"] = "grey"
        dataset = open_dataset(data, **options)
    return {"name": data, **options}, dataset


def side_for(side: int) -> int:
    """Return the side in pixels for images whose shorter side is given: a network must halve it evenly."""
    if side <= 8 or (side <= LARGEST_SIDE and side % 4 == 0):
        return side
    power = 1
    while 2 * power <= min(side, LARGEST_SIDE):
        power *= 2
    return power


# ---- the network ----------------------------------------------------------------------------------------


def networks_for(shape: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return settings of networks for examples of a shape, from the smallest to the largest.

    Args:
        shape: shape of an example: (C, H, W) for images, (D,) for vectors.
    """
    if len(shape) == 1:
        return [{"name": "mlp", "width": width, "depth": 3} for width in (64, 128, 256)]
    side, levels = min(shape[1:]), 1
    while all(n % 2**levels == 0 for n in shape[1:]) and side >> levels >= 4 and levels < 4:
        levels += 1
    return [
        {
            "name": "unet",
            "channels": [width, *[2 * width] * (levels - 1)],
            "layers": 1 if width < 64 else 2,
        }
        for width in WIDTHS
    ]


def fastest_fit(fixed: dict[str, Any], dataset: Dataset, minutes: float, device: str) -> Candidate:
    """Return the largest network that makes WANTED_STEPS steps in time, or else the smallest, with its speed.

    Args:
        fixed: name, data, model and batch of the recipe.
        dataset: the data.
        minutes: time for training and benchmark together.
        device: device of the training.
    """
    wanted = 60 * minutes * TEACHER_SHARE / WANTED_STEPS
    chosen = model = None
    for net in networks_for(dataset.shape):
        source = {
            **{key: fixed[key] for key in ("name", "data")},
            "model": {"net": net, **fixed["model"]},
            "stages": {"teacher": {"method": "denoising"}},
        }
        larger = build(source).fresh_model(dataset, device)
        seconds = step_seconds("denoising", larger, fixed["batch"])
        if chosen is None or seconds <= wanted:
            model = larger
            params = sum(p.numel() for p in model.net.parameters())
            chosen = Candidate(net, params, seconds)
        if seconds > wanted:
            break
    return replace(chosen, student_seconds=step_seconds("progressive", model, fixed["batch"]))


def step_seconds(method: str, model: Denoiser, batch: int) -> float:
    """Return the time of a training step in seconds, the shortest of a few.

    Args:
        method: name of the method.
        model: model of which student and teacher are copies.
        batch: images per step.
    """
    with TemporaryDirectory() as folder:
        training = make_training(METHODS[method](), model, batch, Path(folder))
        training.make_loader()
        training.advance()  # the optimizer creates its state
        times = []
        for _ in range(TIMED_STEPS):
            start = time.perf_counter()
            training.advance()
            if model.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        training.accelerator.free_memory()
    return min(times)


# ---- the text -------------------------------------------------------------------------------------------


def recipe_text(
    fixed: dict[str, Any],
    dataset: Dataset,
    chosen: Candidate,
    minutes: float,
    device: str,
    path: str | Path,
) -> str:
    """Return the text of the recipe, in the file `path`; see `fastest_fit` for the other arguments."""
    batch = fixed["batch"]
    images = len(dataset.shape) == 3
    teacher = steps_in(60 * minutes * TEACHER_SHARE, chosen.teacher_seconds)
    student = steps_in(60 * minutes * STUDENT_SHARE / len(STUDENT_STEPS), chosen.student_seconds)
    width = chosen.net.get("channels", [chosen.net.get("width")])[0]
    train = {
        "batch": batch,
        "lr": 1.0e-3 if width < 64 or not images else 4.0e-4,
        "ema": 0.999 if teacher >= 4000 else 0.995 if teacher >= 500 else 0.98,
    }
    # a pass of the network for one image is about a third of its training step
    evaluations = sum(STUDENT_STEPS) * 2 + BASELINE_STEPS
    samples = 60 * minutes * BENCH_SHARE / (evaluations * chosen.teacher_seconds / batch / 3)
    bench = {
        "steps": sorted(STUDENT_STEPS),
        "baselines": [f"ddim:{BASELINE_STEPS}"],
        "n": rounded(min(max(samples, SAMPLES[0]), SAMPLES[1])),
    }
    judge = ""
    if images and dataset.name != "digits" and device == "cpu":
        bench["extractor"] = "pixels"
        judge = f"a better judge: fastdiff features {path} --out {fixed['name']}-features"
    stages = {
        "teacher": {"method": "denoising", "train": {"steps": teacher}},
        "progressive": {
            "method": {"name": "progressive", "steps": list(STUDENT_STEPS)},
            "teacher": "teacher",
            "train": {"steps": student},
        },
    }
    shape = " x ".join(map(str, dataset.shape[1:] if images else dataset.shape))
    grey = ", grey" if images and dataset.shape[0] == 1 else ""
    kind = f"{'images' if images else 'vectors'} of {shape}{grey}"
    classes = f", {dataset.classes} classes" if dataset.classes > 1 else ""
    few = "# These are few steps: give more --minutes or a smaller --resolution for better samples."
    lines = [
        f"# {len(dataset):,} {kind}{classes}. About {minutes:g} minutes on the machine that timed it, "
        f"{1000 * chosen.teacher_seconds:.3g} ms per step of the teacher.",
        *([few] if teacher < WANTED_STEPS // 4 else []),
        f"#   fastdiff run {path}",
        f"name: {fixed['name']}",
        f"data: {flow(fixed['data'])}",
        f"model: {flow({'net': chosen.net, **fixed['model']})}   # {chosen.params / 1e6:.3g} M parameters",
        f"train: {flow(train)}" + ("   # flip: true if mirrored images are as good" if images else ""),
        "stages:",
        *(f"  {stage}: {flow(settings)}" for stage, settings in stages.items()),
        f"bench: {flow(bench)}" + (f"   # {judge}" if judge else ""),
    ]
    return "\n".join(lines) + "\n"


def flow(settings: dict[str, Any]) -> str:
    """Return settings as YAML in one line."""
    return yaml.safe_dump(settings, default_flow_style=True, sort_keys=False, width=10**6).strip()


def steps_in(seconds: float, step: float) -> int:
    """Return the number of steps of a duration in a time, rounded down to two digits."""
    return max(LEAST_STEPS, rounded(seconds / step))


def rounded(number: float) -> int:
    """Return a number of at least 1, rounded down to two digits."""
    digits = max(0, floor(log10(number)) - 1)
    return int(number // 10**digits * 10**digits)
