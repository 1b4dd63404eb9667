"""Small networks with every weight drawn, and what they are asked."""

import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Cosine
from fastdiff.networks import mlp, unet


def small(kind, classes, schedule=None, **options):
    """A model whose every weight is drawn, in evaluation mode."""
    torch.manual_seed(0)
    shape = (2, 8, 8) if kind == "unet" else (3,)
    net = (
        unet(shape, classes, channels=(8, 16), layers=1, groups=4)
        if kind == "unet"
        else mlp(shape, classes, width=16)
    )
    for p in net.parameters():
        nn.init.normal_(p, std=0.2)
    return Denoiser(net, schedule or Cosine(), "v", shape, **options).eval()


def asked(model, gap=0.3):
    """x, t, s and cond for a model, of three samples."""
    x, t = (
        torch.randn(3, *model.shape, generator=torch.Generator().manual_seed(1)),
        torch.tensor([0.35, 0.6, 1.0]).double(),
    )
    cond = None if model.net.null_label is None else {"label": torch.tensor([0, 2, 1])}
    return x, t, t - gap, cond
