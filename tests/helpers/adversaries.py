"""Adversaries and the tiny models that they judge."""

import torch
from torch import nn

from fastdiff.core.denoiser import Denoiser
from fastdiff.core.schedule import Cosine
from fastdiff.methods.add import ADD, LADD
from fastdiff.methods.adversarial import Adversary
from fastdiff.methods.ctm import CTM
from fastdiff.methods.gan import GAN
from fastdiff.methods.lcm import PCM
from fastdiff.methods.progressive import Progressive, Stochastic
from fastdiff.networks import MLP, unet

ALL = ("first", "blocks.0", "blocks.1", "blocks.2")  # of an MLP


SEEN = Adversary(weight=0.5, features=("first", "blocks.0"), hidden=16)


def alive(net):
    """With every weight drawn."""
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    return net


def points(seed=0, **options):
    torch.manual_seed(seed)
    return Denoiser(alive(MLP(2, 16, 2, **options)), Cosine(), "v", (2,))


JUDGED = {
    "gan": GAN(gan=Adversary(weight=0.5, r1=0.1, hidden=16)),
    "ladd": LADD(gan=SEEN),
    "add": ADD(gan=SEEN),
    "ctm": CTM(points=3, gan=SEEN),
    "progressive": Progressive(steps=2, gan=SEEN),
    "stochastic": Stochastic(steps=2, gan=SEEN),
    "pcm": PCM(weights=(1.0, 1.0), gan=SEEN),
}


def pictures():
    torch.manual_seed(1)
    return Denoiser(unet((1, 8, 8), 10, channels=(8, 16), layers=1), Cosine(), "v", (1, 8, 8)).eval()
