"""Train the classifier that judges pictures where Inception's weights are not available.

    python recipes/cifar10_features.py DATA OUT [--size 32] [--grey] [--epochs 12] [--name NAME]

DATA: a folder of images in a subfolder per class, a folder or pattern of parquet files, or a hub id such as
uoft-cs/cifar10. OUT: the folder that a recipe names as its bench.extractor. NAME: name of the figures, by
default the last part of DATA: fd_cifar10 for uoft-cs/cifar10, fd_shapes_rgb64 for path/to/shapes --size 64.
The script trains on the training images, mirrored and shifted by up to an eighth. It prints the accuracy on
the test images and writes it to features.json. Of data without a test split, a random fifth is the test.
"""

import argparse
import json
import re
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy, pad
from torch.utils.data import Dataset, TensorDataset, random_split

from fastdiff.core.errors import FastdiffError
from fastdiff.core.files import atomic_write
from fastdiff.data.registry import open_dataset
from fastdiff.networks.classifiers import PictureFeatures

WIDTHS = (32, 64, 128)
BATCH = 128
LR = 4e-3


def varied(images: Tensor) -> Tensor:
    """Return images, each mirrored at random, all shifted by one random offset of up to an eighth."""
    far = images.shape[-1] // 8
    dy, dx = torch.randint(0, 2 * far + 1, (2,)).tolist()
    size = images.shape[-1]
    mirrored = torch.rand(len(images), 1, 1, 1) < 0.5
    padded = pad(torch.where(mirrored, images.flip(-1), images), (far,) * 4, mode="constant", value=127)
    return padded[:, :, dy : dy + size, dx : dx + size]


@torch.no_grad()
def accuracy(net: PictureFeatures, images: Tensor, labels: Tensor, device: str) -> float:
    """Return the share of images that a network classifies right."""
    right = [net(part.to(device))[1].argmax(1).cpu() for part in images.split(1000)]
    return (torch.cat(right) == labels).float().mean().item()


def parts(data: str, size: int, colour: str) -> tuple[Dataset, Dataset, int]:
    """Return the training and the test images (uint8) with their labels, and the number of classes."""
    train = open_dataset(data, split="train", resolution=size, colour=colour)
    if not train.classes:
        raise FastdiffError(f"{data}: no labels: expected a subfolder or a label for each class")
    labelled = TensorDataset(train.examples, train.labels)
    try:
        test = open_dataset(data, split="test", resolution=size, colour=colour)
    except FastdiffError as error:
        print(f"{error}\na random fifth of the training images is the test", flush=True)
        return *random_split(labelled, [0.8, 0.2]), train.classes
    return labelled, TensorDataset(test.examples, test.labels), train.classes


def name_of(data: str) -> str:
    """Return the last part of a path or hub id, in letters, digits and underscores."""
    last = Path(data.partition("@")[0]).resolve().name
    return re.sub(r"\W+", "_", last).strip("_").lower() or "own"


def main() -> None:
    """Train, test and write the classifier."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--grey", action="store_true")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--name", help="name of the data in the names of figures")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    colour = "grey" if arguments.grey else "rgb"
    try:
        fit, test, classes = parts(arguments.data, arguments.size, colour)
    except FastdiffError as error:
        parser.error(str(error))
    images, labels = fit[:]

    net = PictureFeatures(arguments.size, 1 if arguments.grey else 3, WIDTHS, classes).to(device)
    batch = min(BATCH, len(fit))
    steps = arguments.epochs * (len(fit) // batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    start = time.monotonic()
    for epoch in range(arguments.epochs):
        for rows in torch.randperm(len(fit))[: len(fit) // batch * batch].split(batch):
            _, logits, _ = net(varied(images[rows]).to(device))
            loss = cross_entropy(logits, labels[rows].to(device), label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(
            f"epoch {epoch + 1}/{arguments.epochs}, {time.monotonic() - start:.0f} s, loss {loss.item():.3f}",
            flush=True,
        )
    right = accuracy(net.eval(), *test[:], device)
    print(f"test accuracy {right:.4f} on {len(test):,} images")

    arguments.out.mkdir(parents=True, exist_ok=True)
    with atomic_write(arguments.out / "model.safetensors") as scratch:
        save_file({name: value.cpu() for name, value in net.state_dict().items()}, scratch)
    shape = f"{arguments.size} x {arguments.size}, {colour}"
    name = arguments.name or name_of(arguments.data)
    info = {
        "name": f"{name}_{colour}{arguments.size}" if arguments.grey or arguments.size != 32 else name,
        "size": arguments.size,
        "channels": net.channels,
        "widths": WIDTHS,
        "dims": net.dims,
        "classes": net.classes,
        "test_accuracy": round(right, 4),
        "trained_on": f"{name}, {len(fit):,} training images of {shape}",
    }
    with atomic_write(arguments.out / "features.json") as scratch:
        scratch.write_text(json.dumps(info, indent=2) + "\n")


if __name__ == "__main__":
    main()
