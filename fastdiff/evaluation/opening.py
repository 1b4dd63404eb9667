"""Evaluators of a data set, opened by the names of feature networks and metrics."""

from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator

from ..core.accelerator import make_accelerator
from ..core.errors import FastdiffError
from ..core.files import cache_folder
from ..data.registry import Dataset
from .evaluator import Evaluator
from .metrics import METRICS
from .metrics.extractors import Extractor, Vectors, open_extractor
from .reference import CHUNK

DEFAULT_IMAGE_METRICS = ("fd", "kd", "pr")  # metrics of images
DEFAULT_VECTOR_METRICS = ("energy", "swd", "pr")


def open_evaluators(
    dataset: Dataset,
    extractors: str | None,
    metrics: Sequence[str] | None,
    device: torch.device | str,
    cache: Path | None = None,
) -> list[Evaluator]:
    """Return evaluators of samples of a data set, one for each feature network, Inception-v3 first.

    Args:
        dataset: the data.
        extractors: feature networks as `open_extractor` takes them, separated by commas; None for the usual
            one of the data.
        metrics: keys of METRICS, None for the usual ones.
        device: where the networks run.
        cache: folder of the data's features, None for the user's cache.

    Raises:
        FastdiffError: if a network or its weights are missing, or do not fit the data or the metrics.
    """
    cache = cache_folder("reference") if cache is None else cache
    if unknown := set(metrics or ()) - set(METRICS):
        raise FastdiffError(f"metrics: {min(unknown)!r} is unknown, choose from {', '.join(METRICS)}")
    if len(dataset.shape) == 1:
        return [_vector_evaluator(dataset, extractors, metrics, device, cache)]
    default = "checkpoints/digits/features" if dataset.name == "digits" else "inception"
    nets = [open_extractor(spec, device) for spec in (extractors or default).split(",")]
    if len({net.name for net in nets}) < len(nets):
        raise FastdiffError(
            f"extractor {extractors}: two of them are called the same, and so would their figures be"
        )
    nets.sort(key=lambda net: net.name != "inception")  # fid is a report's main metric
    return [_image_evaluator(dataset, net, metrics, cache) for net in nets]


def _vector_evaluator(
    dataset: Dataset,
    extractors: str | None,
    metrics: Sequence[str] | None,
    device: torch.device | str,
    cache: Path,
) -> Evaluator:
    """Return an evaluator of vectors, which takes no network."""
    if extractors is not None:
        raise FastdiffError(f"extractor {extractors}: vectors are compared without one; leave extractor out")
    for metric in sorted(metrics or ()):
        if METRICS[metric].kept == "logits" or METRICS[metric].statistics == "spatial":
            raise FastdiffError(
                f"metrics: {metric!r} needs a feature network, and vectors are compared without one"
            )
    return Evaluator(dataset, Vectors(torch.device(device)), metrics or DEFAULT_VECTOR_METRICS, cache)


def _image_evaluator(
    dataset: Dataset, net: Extractor, metrics: Sequence[str] | None, cache: Path
) -> Evaluator:
    """Return an evaluator of images, checked against the data."""
    channels, *size = dataset.shape
    if channels not in (1, 3) or (net.size and size != [net.size] * 2):
        side = net.size or "any"
        raise FastdiffError(
            f"{net.name} takes (1 or 3, {side}, {side}), but {dataset.name} is {tuple(dataset.shape)}"
        )
    classifies = net.classes == dataset.classes
    usual = (*DEFAULT_IMAGE_METRICS, "accuracy") if dataset.classes and classifies else DEFAULT_IMAGE_METRICS
    for metric in metrics or ():
        layer = METRICS[metric].kept or METRICS[metric].statistics
        if layer not in net.layers or (metric == "accuracy" and not classifies):
            complaint = f"metrics: {metric!r} is not to be had in {net.name}: it has {', '.join(net.layers)}"
            if metric == "accuracy":
                complaint += f", and {net.classes or 'no'} classes where the data have {dataset.classes}"
            raise FastdiffError(complaint)
    return Evaluator(dataset, net, metrics or usual, cache)


def evaluate_images(
    made: Dataset,
    real: Dataset,
    extractors: str | None = None,
    metrics: Sequence[str] | None = None,
    accelerator: Accelerator | None = None,
) -> dict[str, float]:
    """Return metrics of one data set's examples as samples of another: images made by any program.

    Args:
        made: the images. If both data sets have as many classes, these are taken to be the same ones, in the
            same order.
        real: the data that they are compared with.
        extractors: feature networks, separated by commas; None for the usual one of the data.
        metrics: keys of METRICS, None for the usual ones.
        accelerator: of this process, None to make one.

    Returns:
        values by name, and among them n, the number of images, and dims, the features' dimension: with
        n <= dims a Frechet distance is mostly bias.

    Raises:
        FastdiffError: if the images do not have the shape of the data, and as `open_evaluators`.
    """
    accelerator = accelerator or make_accelerator()
    if tuple(made.shape) != tuple(real.shape):
        raise FastdiffError(
            f"{made.name} is {tuple(made.shape)}, but {real.name} is {tuple(real.shape)}: give the data a "
            "resolution and colour that suit the images"
        )
    found: dict[str, float] = {"n": len(made)}
    labelled = made.labels is not None and made.classes == real.classes
    chunks = torch.arange(len(made)).split(CHUNK)
    for evaluator in open_evaluators(real, extractors, metrics, accelerator.device):
        for rows in chunks[accelerator.process_index :: accelerator.num_processes]:
            evaluator.add(rows, made.get(rows)[0], made.labels[rows] if labelled else None)
        found |= evaluator.result(accelerator).values
        found["dims"] = evaluator.dims
    return found
