"""Opening of evaluators, by the names of feature networks and metrics; metrics of any program's images."""

import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object

from ..core.accelerator import make_accelerator
from ..core.defaults import float32_on_cpu
from ..core.errors import FastdiffError, FastdiffWarning
from ..core.files import cache_folder
from ..core.wording import suggestion
from ..data.registry import Dataset, Nothing
from ..networks.download import MissingWeights
from .class_names import matched_labels
from .config import BenchConfig
from .evaluator import Evaluator, folds_by_class
from .metrics import METRICS
from .metrics.extractors import Extractor, Vectors, open_extractor
from .metrics.pixels import Pixels
from .reference import CHUNK

DEFAULT_IMAGE_METRICS = ("fd", "kd", "pr")
PIXELS = "pixels"  # the extractor that compares images without a network
DEFAULT_VECTOR_METRICS = ("energy", "swd", "pr")


def open_evaluators(
    dataset: Dataset,
    extractors: str | None,
    metrics: Sequence[str] | None,
    device: torch.device | str,
    cache: Path | None = None,
) -> list[Evaluator]:
    """Return evaluators of samples against a data set, one for each feature network, Inception-v3 first.

    Args:
        dataset: data set that samples are compared with.
        extractors: feature networks, separated by commas, see `open_extractor`; "pixels" compares downscaled
            images without one. None: the shipped digits classifier for the digits, Inception-v3 for other
            images, or "pixels" with a warning if it is not available; none for vectors.
        metrics: keys of METRICS. None: fd, kd, pr and, where the data have the classes of the network,
            accuracy; energy, swd and pr for vectors and pixels.
        device: device of the networks.
        cache: folder in which the features of the data are cached; None for the user's cache.

    Returns:
        The evaluators.

    Raises:
        FastdiffError: if a network or its weights are missing, or do not fit the data or the metrics.
    """
    cache = cache_folder("reference") if cache is None else cache
    if unknown := set(metrics or ()) - set(METRICS):
        near = suggestion(min(unknown), list(METRICS))
        raise FastdiffError(f"metrics: {min(unknown)!r} is unknown{near}")
    if len(dataset.shape) == 1:
        return [_vector_evaluator(dataset, extractors, metrics, device, cache)]
    if extractors is None:
        net = _default_network(dataset, device)
        if isinstance(net, Pixels):  # metrics that need a network are left out
            metrics = [metric for metric in metrics or () if metric in DEFAULT_VECTOR_METRICS]
        return [_image_evaluator(dataset, net, metrics, cache)]
    if extractors == PIXELS:
        return [_image_evaluator(dataset, _pixels(dataset, device), metrics, cache)]
    if PIXELS in extractors.split(","):
        raise FastdiffError(
            f"extractor {extractors}: pixels are compared without a network; name {PIXELS} or the others"
        )
    nets = [open_extractor(spec, device) for spec in extractors.split(",")]
    if len({net.name for net in nets}) < len(nets):
        raise FastdiffError(
            f"extractor {extractors}: two feature networks have the same name, and so would their "
            "metrics; name each once"
        )
    nets.sort(key=lambda net: net.name != "inception")  # fid is the main metric of a report
    return [_image_evaluator(dataset, net, metrics, cache) for net in nets]


def bench_evaluators(dataset: Dataset, config: BenchConfig, device: torch.device) -> list[Evaluator]:
    """Open the evaluators of a benchmark.

    Args:
        dataset: data set that samples are compared with.
        config: settings of the benchmark.
        device: device of the feature networks.

    Raises:
        FastdiffError: if weights are missing, or if there are too few samples or examples.
    """
    if isinstance(dataset, Nothing):
        raise FastdiffError("data = nothing: expected a data set with images to compare samples with")
    named = None if config.metrics is None else tuple(metric for metric in config.metrics if metric != "nll")
    evaluators = open_evaluators(dataset, config.extractor, named, device)
    least = max(evaluator.least for evaluator in evaluators)
    if config.smallest_n < least:
        names = ", ".join(evaluators[0].metrics)
        raise FastdiffError(
            f"bench.n = {config.smallest_n}: expected at least {least} samples for the metrics {names}"
        )
    return evaluators


def _vector_evaluator(
    dataset: Dataset,
    extractors: str | None,
    metrics: Sequence[str] | None,
    device: torch.device | str,
    cache: Path,
) -> Evaluator:
    """Return an evaluator of vectors, which needs no feature network."""
    if extractors is not None:
        raise FastdiffError(f"extractor {extractors}: vectors are compared without one; leave extractor out")
    for metric in sorted(metrics or ()):
        if METRICS[metric].kept == "logits" or METRICS[metric].statistics == "spatial":
            raise FastdiffError(
                f"metrics: {metric!r} needs a feature network, and vectors are compared without one"
            )
    return Evaluator(dataset, Vectors(torch.device(device)), metrics or DEFAULT_VECTOR_METRICS, cache)


def _default_network(dataset: Dataset, device: torch.device | str) -> Extractor | Pixels:
    """Return the usual feature network of the data; pixels with a warning if a process cannot open it."""
    missing = None
    try:
        net = open_extractor(
            "checkpoints/digits/features" if dataset.name == "digits" else "inception", device
        )
    except MissingWeights as error:
        missing = error
    if not any(gather_object([missing is not None])):
        return net
    pixels = _pixels(dataset, device)
    if PartialState().is_main_process:
        warn_of_pixels(pixels)
    return pixels


@cache
def warn_of_pixels(pixels: Pixels) -> None:
    """Warn, once in a process, that images are compared by their pixels; name the way to a network."""
    warnings.warn(
        f"no feature network is available: images are judged by {pixels.named('energy')} and "
        f"{pixels.named('swd')}, distances of images of {pixels.side} x {pixels.side} pixels, which see no "
        "finer detail; `fastdiff features DATA --out FOLDER` trains a network for `extractor: FOLDER`",
        FastdiffWarning,
        stacklevel=2,
    )


def _pixels(dataset: Dataset, device: torch.device | str) -> Pixels:
    """Return the pixels of images as features."""
    if len(dataset.shape) != 3:
        raise FastdiffError(
            f"data {dataset.name} = {tuple(dataset.shape)}: expected images (channels, height, width) to "
            "compare their pixels"
        )
    return Pixels.fit(dataset.shape, device)


def _image_evaluator(
    dataset: Dataset, net: Extractor | Pixels, metrics: Sequence[str] | None, cache: Path
) -> Evaluator:
    """Return an evaluator of images; raise FastdiffError if network and metrics do not fit the data."""
    without_network = isinstance(net, Pixels)
    channels, *size = dataset.shape
    if not without_network and (channels not in (1, 3) or (net.size and size != [net.size] * 2)):
        side = net.size or "any"
        raise FastdiffError(
            f"data {dataset.name} = {tuple(dataset.shape)}: {net.name} expected (1 or 3, {side}, {side}); "
            "choose a resolution, a colour or another extractor"
        )
    classifies = net.classes == dataset.classes
    usual = DEFAULT_VECTOR_METRICS if without_network else DEFAULT_IMAGE_METRICS
    if dataset.classes and classifies:
        usual = (*usual, "accuracy")
    for metric in metrics or ():
        layer = METRICS[metric].kept or METRICS[metric].statistics
        if layer not in net.layers or (metric == "accuracy" and not classifies):
            complaint = (
                f"metrics: {metric!r} cannot be computed with {net.name}, which has {', '.join(net.layers)}"
            )
            if metric == "accuracy":
                complaint += f", and {net.classes or 'no'} classes where the data have {dataset.classes}"
            raise FastdiffError(complaint)
    return Evaluator(dataset, net, metrics or usual, cache)


@float32_on_cpu()
def evaluate_images(
    made: Dataset,
    real: Dataset,
    extractors: str | None = None,
    metrics: Sequence[str] | None = None,
    accelerator: Accelerator | None = None,
) -> dict[str, float]:
    """Evaluate images made by any program: return their metrics against a data set of real images.

    Args:
        made: images to evaluate, as a data set. Its classes are those of the same names in `real`, or, where
            names are unknown, of the same places.
        real: data set that they are compared with, of the same shape.
        extractors: feature networks, separated by commas, and the default None, see `open_evaluators`.
        metrics: keys of METRICS (fd, kd, score, pr, sfd, accuracy, energy, swd). None: fd, kd, pr and, where
            the data have the classes of the network, accuracy; energy, swd and pr for vectors and pixels.
        accelerator: accelerator of this process; None to create one. All processes divide the images.

    Returns:
        Values by name: the metrics (fid, kid_se, precision_inception, ...), n, the number of images, and
        dims, the dimension of the features. A Frechet distance with n <= dims is mostly bias. `classes` is a
        list, the accuracy by class; metrics are inf if an image is not finite.

    Raises:
        FastdiffError: for images of another shape or other classes than the data's, too few images, unknown
            or unsuitable metrics, and feature networks that are missing or do not fit the data.

    Example:
        >>> made, real = open_dataset("my-samples"), open_dataset("cifar10")
        >>> evaluate_images(made, real, extractors="inception", metrics=("fd", "pr"))
        {"n": 50000, "fid": 3.2, "fid_inf": 3.1, "precision_inception": 0.71, ..., "dims": 2048}
    """
    accelerator = accelerator or make_accelerator()
    if tuple(made.shape) != tuple(real.shape):
        raise FastdiffError(
            f"data {real.name} = {tuple(real.shape)}: expected that of {made.name}, {tuple(made.shape)}; "
            "choose a resolution and a colour"
        )
    found: dict[str, float] = {"n": len(made)}
    labels = matched_labels(made, real)
    folds = None if labels is None else folds_by_class(labels)
    chunks = torch.arange(len(made)).split(CHUNK)
    for evaluator in open_evaluators(real, extractors, metrics, accelerator.device):
        for rows in chunks[accelerator.process_index :: accelerator.num_processes]:
            known, fold = (None if x is None else x[rows] for x in (labels, folds))
            evaluator.add(rows, made.get(rows)[0], known, fold)
        found |= evaluator.result(accelerator).values
        found["dims"] = evaluator.dims
    return found
