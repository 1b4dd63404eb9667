"""Training of feature networks: a small classifier of any data set's classes, or of rotated images.

A feature network judges samples by the layer before its logits.
"""

import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import LongTensor, Tensor
from torch.nn.functional import cross_entropy

from ..core.defaults import float32_on_cpu
from ..core.errors import FastdiffError, FastdiffWarning
from ..core.files import atomic_write, expanded, make_directory
from ..data.image_folder import SPLIT_NAMES
from ..data.registry import Dataset
from ..networks.classifiers import PictureFeatures
from .feature_task import Task
from .metric_names import SUFFIXES

MIN_EXAMPLES = 20  # fewest images of which a fifth can be left for the test
DIMS = 128  # dimension of the features
FINEST = 16  # channels of the finest maps, of large images
BATCH = 128
LR = 4e-3
# Images seen in training: 12 passes over the data, but not fewer or more than these.
LEAST_SEEN = 20_000
MOST_SEEN = 600_000
LEAST_GAIN = 0.2  # accuracy above chance, of what is possible, below which there is a warning
RESERVED_NAMES = ("digits", "inception", "none", "pixels")  # of networks that fastdiff or torch-fidelity has

Watch = Callable[[int, int, float], None]  # finished steps, all steps, loss


class FeatureNetwork(NamedTuple):
    """A trained feature network, and the contents of its features.json."""

    net: PictureFeatures
    info: dict[str, Any]


@float32_on_cpu()
def train_features(
    dataset: Dataset,
    test: Dataset | None = None,
    name: str | None = None,
    epochs: int | None = None,
    flip: bool = False,
    device: torch.device | str = "cpu",
    seed: int = 0,
    watch: Watch | None = None,
) -> FeatureNetwork:
    """Train a small feature network on a data set.

    Args:
        dataset: images, with classes to distinguish, or without any to distinguish rotations.
        test: other images of the data, on which the accuracy is measured. None, or other classes than those
            of the data: a fifth of the data, which is then not trained on.
        name: name of the figures, `fd_<name>`. None: `name_of` the data.
        epochs: number of passes over the training images, at least 1. None: 12, or as many as 20,000 images
            take, or as few as 600,000 allow.
        flip: mirror each image with probability one half. Images are also shifted by up to an eighth.
        device: device of the training.
        seed: seed of the weights, the test images, the order and the variations.
        watch: function of the finished steps, of all steps and of the loss; None for none.

    Returns:
        The network in eval mode, on the CPU, and its description.

    Raises:
        FastdiffError: for data that are not images, for too few of them, and for a name that is not a word or
            belongs to another network.
    """
    name = name_of(dataset.name) if name is None else checked_name(name)
    check_images(dataset)
    generator = torch.Generator().manual_seed(seed)
    if test is None or (test.classes, test.names) != (dataset.classes, dataset.names):
        fit_places, test_places = divided(dataset, generator)
        fit, test, source = part(dataset, fit_places), part(dataset, test_places), "held-out"
    else:
        fit, source = dataset, "test"
    task = Task.of(dataset)
    channels, height, width = dataset.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        side = height if height == width else None
        net = PictureFeatures(side, channels, widths_for(min(height, width)), task.kinds)
    net.to(device)
    batch = min(BATCH, max(8, len(fit) // 8))
    steps = -(-(seen(len(fit)) if epochs is None else epochs * len(fit)) // batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=max(2, steps))
    for step, rows in enumerate(batches(len(fit), batch, steps, generator), 1):
        images = varied(fit.examples[rows], flip, generator)
        images, targets = task.posed(images, None if fit.labels is None else fit.labels[rows], generator)
        loss = cross_entropy(net(images.to(device))[1], targets.to(device), label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if watch:
            watch(step, steps, loss.item())
    net.eval()
    right, usual = task.accuracy(net, test, device)
    if right - usual < LEAST_GAIN * (1 - usual):
        warnings.warn(
            f"the feature network is right on {right:.1%} of the {source} images, and by chance would be on "
            f"{usual:.1%}: its features say little; train on more images or for more epochs",
            FastdiffWarning,
            stacklevel=2,
        )
    info = {
        "name": name,
        "size": side,
        "channels": channels,
        "widths": list(widths_for(min(height, width))),
        "dims": net.dims,
        "classes": task.kinds,
        "task": task.name,
        "test_accuracy": round(right, 4),
        "chance_accuracy": round(usual, 4),
        "trained_on": f"{shown_name(dataset.name)}: {len(fit):,} images of {height} x {width} in {channels} "
        f"channel{'s' if channels > 1 else ''}, {task.described}; accuracy on {len(test):,} {source} images",
        "data": dataset.fingerprint,
    }
    return FeatureNetwork(net.cpu().requires_grad_(False), info)


def write_features(trained: FeatureNetwork, folder: str | Path) -> None:
    """Write a feature network into a folder, as `bench.extractor` takes it.

    Args:
        trained: the network and its description.
        folder: the folder; created if missing.

    Raises:
        FastdiffError: if the folder cannot be written.
    """
    folder = Path(folder)
    make_directory(folder, "--out")
    with atomic_write(folder / "model.safetensors") as scratch:
        save_file(trained.net.state_dict(), scratch)
    with atomic_write(folder / "features.json") as scratch:
        scratch.write_text(json.dumps(trained.info, indent=2) + "\n", encoding="utf-8")


# ---- names ----------------------------------------------------------------------------------------------


def name_of(data: str) -> str:
    """Return a name of figures for a data set: the last part of its path or id, in lower-case letters.

    Folders of splits and patterns are left out. Names of other networks, and names that end like the keys of
    errors and limits, get `_data` at their end.
    """
    parts = Path(data.partition("@")[0]).resolve().parts[1:]
    named = [part for part in parts if part.lower() not in SPLIT_NAMES and not set(part) & set("*?[")]
    last = named[-1].lower().removesuffix(".parquet") if named else ""
    name = re.sub(r"[^a-z0-9]+", "_", last).strip("_") or "own"
    return f"{name}_data" if name in RESERVED_NAMES or f"_{name}".endswith(SUFFIXES) else name


def shown_name(data: str) -> str:
    """Return the name of a data set without the folders around it; a hub id as it is."""
    return Path(data).name if expanded(data).exists() else data


def checked_name(name: str) -> str:
    """Return a name that was given; raise FastdiffError if it is not a word or has another meaning."""
    if not re.fullmatch(r"[a-zA-Z0-9_]+", name):
        raise FastdiffError(f"name = {name!r}: expected letters, digits and underscores")
    if name in RESERVED_NAMES or f"_{name}".endswith(SUFFIXES):
        raise FastdiffError(
            f"name = {name}: expected none of {', '.join(RESERVED_NAMES)}, which name other networks, and no "
            f"ending of {', '.join(SUFFIXES)}; choose another name"
        )
    return name


# ---- data -----------------------------------------------------------------------------------------------


def check_images(dataset: Dataset) -> None:
    """Raise FastdiffError if a data set has no grey or RGB images, or too few."""
    images = isinstance(dataset.examples, Tensor) and dataset.examples.dtype == torch.uint8
    if not images or len(dataset.shape) != 3 or dataset.shape[0] not in (1, 3):
        raise FastdiffError(
            f"data {dataset.name} = {tuple(dataset.shape)}: expected grey or RGB images to train a feature "
            "network on"
        )
    if len(dataset) < MIN_EXAMPLES:
        raise FastdiffError(
            f"data {dataset.name}: {len(dataset)} images: expected at least {MIN_EXAMPLES} to train a "
            "feature network on"
        )


def divided(dataset: Dataset, generator: torch.Generator) -> tuple[LongTensor, LongTensor]:
    """Return the places of the training and of the test images: a random fifth of each class."""
    order = torch.randperm(len(dataset), generator=generator)
    if dataset.labels is not None:
        order = order[dataset.labels[order].argsort(stable=True)]
    tested = torch.arange(len(order)) % 5 == 4
    return order[~tested].sort().values, order[tested].sort().values


def part(dataset: Dataset, places: LongTensor) -> Dataset:
    """Return the images and labels of a data set at some places."""
    labels = None if dataset.labels is None else dataset.labels[places]
    return Dataset(dataset.name, dataset.examples[places], labels, dataset.classes, names=dataset.names)


def seen(count: int) -> int:
    """Return the number of images that a training sees by default, of `count` different ones."""
    return min(max(12 * count, LEAST_SEEN), MOST_SEEN)


def batches(count: int, size: int, steps: int, generator: torch.Generator) -> Iterator[LongTensor]:
    """Yield `steps` batches of `size` places out of `count`, in a new random order at each pass."""
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < size:
            order = torch.cat([order, torch.randperm(count, generator=generator)])
        yield order[:size]
        order = order[size:]


def varied(images: Tensor, flip: bool, generator: torch.Generator) -> Tensor:
    """Return images, each shifted by up to an eighth along both axes, with its edges repeated.

    Args:
        images: images (n, C, H, W).
        flip: mirror each image with probability one half.
        generator: source of the variations.
    """
    n, channels, *sides = images.shape
    places = []
    for side in sides:
        far = side // 8
        shift = torch.randint(-far, far + 1, (n, 1), generator=generator)
        places.append((torch.arange(side) + shift).clamp(0, side - 1))
    rows, columns = places
    if flip:
        mirrored = torch.rand(n, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    every = torch.arange(n).view(n, 1, 1, 1)
    return images[
        every, torch.arange(channels).view(1, -1, 1, 1), rows[:, None, :, None], columns[:, None, None]
    ]


def widths_for(side: int) -> tuple[int, ...]:
    """Return the channels of the maps of PictureFeatures: the side is halved to about 8 between them.

    Args:
        side: shorter side of the images in pixels.
    """
    halvings = 2
    while side >> halvings > 8:
        halvings += 1
    halvings = min(halvings, side.bit_length() - 1)  # to one pixel at least
    return tuple(max(FINEST, DIMS >> level) for level in range(halvings, -1, -1))
