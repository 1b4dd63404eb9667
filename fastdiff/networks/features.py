"""The feature network of the embedded digits: a small classifier, torch only.

Inception has never seen an 8 x 8 digit and its weights need a download, so the digits are judged by the
penultimate layer of a classifier of digits. `recipes/digits_features.py` trains it.
"""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from ..files import read_json


def block(width: int, out: int) -> nn.Sequential:
    """Convolution, batch norm and nonlinearity."""
    return nn.Sequential(nn.Conv2d(width, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.SiLU())


class DigitFeatures(nn.Module):
    """uint8 images (n, 1 or 3, 8, 8) -> features (n, 64) after the nonlinearity, logits (n, 10), maps (n, 64, 4, 4)."""

    size, dims, classes = 8, 64, 10

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(
            block(1, 32), block(32, 32), nn.MaxPool2d(2),  # (n, 32, 4, 4)
            block(32, 64), nn.Flatten(),  # (n, 1024)
            nn.Linear(64 * 16, self.dims), nn.SiLU(),
        )  # fmt: skip
        self.head = nn.Linear(self.dims, self.classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grey = images.float().mean(1, keepdim=True) / 127.5 - 1
        maps = self.trunk[:4](grey)
        features = self.trunk[4:](maps)
        return features, self.head(features), maps


def load_features(folder: str | Path) -> tuple[DigitFeatures, dict]:
    """The trained network of a folder, in eval mode, and what its features.json says."""
    net = DigitFeatures()
    net.load_state_dict(load_file(Path(folder) / "model.safetensors"))
    return net.eval().requires_grad_(False), read_json(Path(folder) / "features.json")
