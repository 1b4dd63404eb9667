"""Feature networks of small images: classifiers, written in plain torch.

Inception-v3 was not trained on 8 x 8 digits and its weights need a download. Digits are therefore evaluated
in the penultimate layer of a classifier of digits, and images on machines without network access in that of
a network that `fastdiff features` trains on them.
"""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn
from typing_extensions import override

from ..core.files import read_json


def block(width: int, out: int) -> nn.Sequential:
    """Return a layer of convolution, batch norm and nonlinearity."""
    return nn.Sequential(nn.Conv2d(width, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.SiLU())


class DigitFeatures(nn.Module):
    """A classifier of digits: uint8 images (n, 1 or 3, 8, 8) to features, logits and maps.

    Features (n, 64) come from the last nonlinearity; logits are (n, 10), maps (n, 64, 4, 4).
    """

    size = 8
    dims = 64
    classes = 10

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            block(1, 32), block(32, 32), nn.MaxPool2d(2),  # (n, 32, 4, 4)
            block(32, 64), nn.Flatten(),  # (n, 1024)
            nn.Linear(64 * 16, self.dims), nn.SiLU(),
        )  # fmt: skip
        self.head = nn.Linear(self.dims, self.classes)

    @override
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grey = images.float().mean(1, keepdim=True) / 127.5 - 1
        maps = self.trunk[:4](grey)
        features = self.trunk[4:](maps)
        return features, self.head(features), maps

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Return the maps before and after the halving, for images (n, 1 or 3, 8, 8) in [-1, 1]."""
        fine = self.trunk[:2](images.mean(1, keepdim=True))
        return [fine, self.trunk[2:4](fine)]


class PictureFeatures(nn.Module):
    """A classifier: uint8 images (n, 1 or 3, size, size) to features, logits and maps.

    There are two convolutions per width, and the size is halved between two widths. Features (n, widths[-1])
    are means over the last maps (n, widths[-1], h, w); logits are (n, classes).

    Args:
        size: side of the images in pixels; None for images of any size.
        channels: 3, or 1 to average the channels of the images.
        widths: channels of the maps, stage by stage.
        classes: number of classes.
    """

    def __init__(
        self,
        size: int | None = 32,
        channels: int = 3,
        widths: tuple[int, ...] = (64, 128, 256),
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.size = size
        self.channels = channels
        self.classes = classes
        self.dims = widths[-1]
        layers: list[nn.Module] = []
        for width, out in zip((channels, *widths), widths):
            layers += [nn.Sequential(block(width, out), block(out, out)), nn.MaxPool2d(2)]
        self.trunk = nn.Sequential(*layers[:-1])
        self.head = nn.Linear(self.dims, classes)

    @override
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = self.feature_maps(images.float() / 127.5 - 1)[-1]
        features = maps.mean((2, 3))
        return features, self.head(features), maps

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Return the maps of each width for images (n, 1 or 3, size, size) in [-1, 1], with gradients."""
        x = images.mean(1, keepdim=True) if self.channels == 1 else images.expand(-1, 3, -1, -1)
        outputs = []
        for layer in self.trunk:
            x = layer(x)
            outputs.append(x)
        return outputs[::2]  # the layers between them halve the size


def load_features(folder: str | Path) -> tuple[DigitFeatures | PictureFeatures, dict[str, Any]]:
    """Load the trained network of a folder, frozen in eval mode, and the contents of its features.json."""
    info = read_json(Path(folder) / "features.json")
    shaped = {name: info[name] for name in ("size", "channels", "widths", "classes") if name in info}
    net = PictureFeatures(**shaped) if "widths" in info else DigitFeatures()
    net.load_state_dict(load_file(Path(folder) / "model.safetensors"))
    return net.eval().requires_grad_(False), info
