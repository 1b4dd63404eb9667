"""Feature networks of small pictures: classifiers, torch only.

Inception has never seen an 8 x 8 digit and its weights need a download, so the digits are judged by the
penultimate layer of a classifier of digits, which `recipes/digits_features.py` trains; pictures like
CIFAR-10's where there is no network by that of `recipes/cifar10_features.py`.
"""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from ..core.files import read_json


def block(width: int, out: int) -> nn.Sequential:
    """Convolution, batch norm and nonlinearity."""
    return nn.Sequential(nn.Conv2d(width, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.SiLU())


class DigitFeatures(nn.Module):
    """uint8 images (n, 1 or 3, 8, 8) -> features (n, 64) after the nonlinearity, logits (n, 10), maps (n, 64, 4, 4)."""

    size, dims, classes = 8, 64, 10

    def __init__(self) -> None:
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

    def seen(self, images: Tensor) -> list[Tensor]:
        """Maps before and after the halving, of images (n, 1 or 3, 8, 8) in [-1, 1]; gradients pass."""
        fine = self.trunk[:2](images.mean(1, keepdim=True))
        return [fine, self.trunk[2:4](fine)]


class PictureFeatures(nn.Module):
    """uint8 images (n, 1 or 3, size, size) -> features (n, widths[-1]), logits (n, classes), maps (n, widths[-1], h, w).

    Two convolutions a width, the size halved between two widths; features are the mean over the last maps.
    """

    def __init__(
        self, size: int = 32, channels: int = 3, widths: tuple[int, ...] = (64, 128, 256), classes: int = 10
    ) -> None:
        super().__init__()
        self.size, self.channels, self.classes, self.dims = size, channels, classes, widths[-1]
        pairs = zip((channels, *widths), widths)
        stages = [nn.Sequential(block(width, out), block(out, out)) for width, out in pairs]
        self.trunk = nn.Sequential(*(layer for stage in stages for layer in (stage, nn.MaxPool2d(2))))[:-1]
        self.head = nn.Linear(self.dims, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = self.seen(images.float() / 127.5 - 1)[-1]
        features = maps.mean((2, 3))
        return features, self.head(features), maps

    def seen(self, images: Tensor) -> list[Tensor]:
        """The maps of each width, of images (n, 1 or 3, size, size) in [-1, 1]; gradients pass."""
        x, found = images.mean(1, keepdim=True) if self.channels == 1 else images.expand(-1, 3, -1, -1), []
        for layer in self.trunk:
            x = layer(x)
            found.append(x)
        return found[::2]  # between two of them the size is halved


def load_features(folder: str | Path) -> tuple[DigitFeatures | PictureFeatures, dict]:
    """The trained network of a folder, in eval mode, and what its features.json says."""
    info = read_json(Path(folder) / "features.json")
    shaped = {name: info[name] for name in ("size", "channels", "widths", "classes") if name in info}
    net = PictureFeatures(**shaped) if "widths" in info else DigitFeatures()
    net.load_state_dict(load_file(Path(folder) / "model.safetensors"))
    return net.eval().requires_grad_(False), info
