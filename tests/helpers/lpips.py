"""Weights of LPIPS for tests."""

import torch
from torchvision.models.vgg import cfgs, make_layers

from fastdiff.networks.lpips import CHANNELS, VGG

WIDTHS = (64, 128, 256, 512, 512)


def random_weights(folder):
    """The folder with both files, their weights drawn, under the names that the public ones have."""
    torch.manual_seed(0)
    features = make_layers(cfgs["D"])
    torch.save(
        {f"features.{k}": v for k, v in features.state_dict().items()} | {"classifier.0.bias": torch.ones(3)},
        folder / VGG,
    )
    torch.save(
        {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate(WIDTHS)},
        folder / CHANNELS,
    )
    return folder
