"""LPIPS (Zhang et al. 2018): the distance between two images in features of VGG16, as in torch-fidelity."""

import pickle
from functools import lru_cache
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn
from typing_extensions import override

from ..core.errors import FastdiffError
from ..core.files import expanded
from .download import cached

# VGG16 of torchvision, and the weights of its channels (version 0.1) as published by torch-fidelity.
VGG = "vgg16-397923af.pth"
CHANNELS = "weights-vgg16-lpips.pth"
URLS = {
    VGG: f"https://download.pytorch.org/models/{VGG}",
    CHANNELS: f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{CHANNELS}",
}
STAGES = (
    (64, 2),
    (128, 2),
    (256, 3),
    (512, 3),
    (512, 3),
)  # stages of VGG16: width and number of convolutions


class Perceptual(nn.Module):
    """The LPIPS network: two batches of images (B, 1 or 3, H, W) in [-1, 1] to distances (B,).

    After every stage the feature vector of each place is normalized to length 1; the squared differences,
    weighted by channel and averaged over places, are summed over stages. Differentiable in both images.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        width = 3
        for out, count in STAGES:
            layers = [nn.MaxPool2d(2)] if self.stages else []
            for _ in range(count):
                layers += [nn.Conv2d(width, out, 3, padding=1), nn.ReLU()]
                width = out
            self.stages.append(nn.Sequential(*layers))
        self.channels = nn.ParameterList(torch.ones(1, width, 1, 1) for width, _ in STAGES)
        self.register_buffer("mean", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    @override
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        total = 0.0
        for x, y, weight in zip(self.feature_maps(a), self.feature_maps(b), self.channels, strict=True):
            apart = nn.functional.normalize(x, eps=1e-10) - nn.functional.normalize(y, eps=1e-10)
            total = total + (weight * apart.square()).sum(1).mean((1, 2))
        return total

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Return the features after every stage for images (B, 1 or 3, H, W) in [-1, 1]."""
        x = (images - self.mean) / self.std  # grey becomes three equal channels
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


@lru_cache(maxsize=2)
def open_lpips(folder: str | None, device: torch.device, dtype: torch.dtype) -> Perceptual:
    """Open the LPIPS network; equal arguments return the same network.

    Args:
        folder: folder of the weights; None for torch's cache, to which they are downloaded if missing.
        device: device of the network.
        dtype: dtype of the weights.

    Raises:
        FastdiffError: if the weights are missing, or if the files hold something else.
    """
    net = Perceptual()
    setting = f"weights: FOLDER of lpips or vgg16, a folder of {VGG} and {CHANNELS}"
    paths = {}
    for file, url in URLS.items():
        paths[file] = expanded(folder) / file if folder else cached(url, file, "lpips", setting)
    stored = {file: load_tensors(path) for file, path in paths.items()}
    try:
        layers = {k.removeprefix("features."): v for k, v in stored[VGG].items() if k.startswith("features.")}
        nn.Sequential(*chain(*net.stages)).load_state_dict(layers)  # numbered as torchvision's
    except (RuntimeError, AttributeError):
        raise not_weights(paths[VGG]) from None
    try:
        net.channels.load_state_dict(
            {str(i): stored[CHANNELS][f"lin{i}.model.1.weight"] for i in range(len(STAGES))}
        )
    except (RuntimeError, TypeError, KeyError):
        raise not_weights(paths[CHANNELS]) from None
    return net.to(device, dtype).eval().requires_grad_(False)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Load a file of named tensors without running code in it; raise FastdiffError for any other file."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FastdiffError(f"weights of lpips: {path} does not exist") from None
    except (OSError, EOFError, RuntimeError, KeyError, pickle.UnpicklingError):
        raise not_weights(path) from None
    if not isinstance(stored, dict):
        raise not_weights(path)
    return stored


def not_weights(path: Path) -> FastdiffError:
    """Return the error for a file that does not hold these weights."""
    return FastdiffError(f"{path}: not the weights of lpips; replace or delete it")
