"""The cost of sampling: operations of an evaluation by hand, and the peak of memory."""

import mmap
from pathlib import Path

import pytest
import torch
from torch import nn

from fastdiff.core.cost import flops, forget_peak, peak_mb
from fastdiff.core.denoiser import Denoiser
from fastdiff.core.network import Network
from fastdiff.core.schedule import Flow


class Layers(Network):
    """A matrix of two rows, and a convolution of three channels that sees one of an image."""

    def __init__(self, image: bool):
        super().__init__()
        self.layer = nn.Conv2d(3 + image, 3, 3, padding=1, bias=False) if image else nn.Linear(2, 2)
        self.condition_channels = int(image)

    def forward(self, x, t, s=None, cond=None):
        return self.layer(torch.cat([x, cond["image"]], 1) if self.condition_channels else x)


class Twice(Network):
    """A network without a product of matrices."""

    def forward(self, x, t, s=None, cond=None):
        return 2 * x


def test_the_operations_of_one_sample_are_those_of_its_products():
    assert flops(Denoiser(Layers(False), Flow(), "velocity", (2,))) == 2 * 2 * 2
    # a product and a sum for each pixel, weight of a kernel, and pair of channels
    assert flops(Denoiser(Layers(True), Flow(), "velocity", (3, 4, 5))) == 2 * 4 * 5 * 9 * 4 * 3
    assert flops(Denoiser(Twice(), Flow(), "velocity", (2,))) is None


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets a peak")
def test_a_peak_is_seen_and_forgotten():
    cpu = torch.device("cpu")
    forget_peak(cpu)
    before = peak_mb(cpu)
    pages = mmap.mmap(-1, 64 * 2**20)  # new pages, not those of a freed tensor
    torch.frombuffer(pages, dtype=torch.uint8).fill_(1)
    assert 60 <= peak_mb(cpu) - before < 100
    pages.close()
    forget_peak(cpu)
    assert peak_mb(cpu) - before < 30
