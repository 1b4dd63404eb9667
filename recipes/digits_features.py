"""Train the feature network that judges the digits, and write checkpoints/digits/features/.

    python recipes/digits_features.py

Trains on 1,437 of scikit-learn's 1,797 digits, shifted by up to one pixel, and tests on the other 360 (a
fixed, stratified split). Result, in under half a minute on one core: test accuracy 0.9972. The same machine
and library versions give the same weights, bit for bit.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from fastdiff.core.files import atomic_write
from fastdiff.data.image_grid import to_uint8
from fastdiff.networks.classifiers import DigitFeatures

OUT = Path(__file__).parents[1] / "checkpoints" / "digits" / "features"
EPOCHS = 30
BATCH = 64
LR = 2e-3


def shifted(images: Tensor) -> Tensor:
    """Return images, each shifted at random by -1, 0 or 1 pixel along each axis, with black at the edges."""
    n = len(images)
    padded = pad(images, (1, 1, 1, 1))
    dy, dx = torch.randint(0, 3, (2, n, 1, 1))
    rows = torch.arange(8).view(8, 1) + dy
    columns = torch.arange(8) + dx
    return padded[torch.arange(n).view(n, 1, 1), 0, rows, columns].unsqueeze(1)


def train(images: Tensor, labels: Tensor) -> DigitFeatures:
    """Train the network to classify digits."""
    net = DigitFeatures()
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images))[: len(images) // BATCH * BATCH].split(BATCH):
            _, logits = net(shifted(images[rows]))
            loss = cross_entropy(logits, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def main() -> None:
    """Train, test and write the network."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the order of a sum, and so the weights, depend on it
    torch.use_deterministic_algorithms(True)

    raw, labels = load_digits(return_X_y=True)
    images = to_uint8(torch.tensor(raw, dtype=torch.float32).view(-1, 1, 8, 8) / 16 * 2 - 1)
    labels = torch.tensor(labels)
    fit, test = train_test_split(torch.arange(len(labels)), test_size=360, stratify=labels, random_state=0)

    net = train(images[fit], labels[fit])
    with torch.no_grad():
        accuracy = (net(images[test])[1].argmax(1) == labels[test]).float().mean().item()
    print(f"test accuracy {accuracy:.4f} on {len(test)} digits")

    OUT.mkdir(parents=True, exist_ok=True)
    with atomic_write(OUT / "model.safetensors") as scratch:
        save_file(net.state_dict(), scratch)
    info = {
        "name": "digits",
        "dims": net.dims,
        "classes": net.classes,
        "test_accuracy": round(accuracy, 4),
        "trained_on": "scikit-learn load_digits, 1,437 of 1,797 images: "
        "train_test_split(test_size=360, stratify=labels, random_state=0); shifts of up to one pixel",
    }
    with atomic_write(OUT / "features.json") as scratch:
        scratch.write_text(json.dumps(info, indent=2) + "\n")


if __name__ == "__main__":
    main()
