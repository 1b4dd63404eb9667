"""What a training frees stays with the process while it trains, and no longer."""

import ctypes
import resource
from pathlib import Path

import pytest
import torch

from fastdiff.training import malloc as heap

glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
SIZE = 1 << 24  # of a block, in float32: 64 MiB


def faults():
    """Pages that the system had to hand out for eight blocks, each freed before the next."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(SIZE)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@glibc
def test_freed_memory_is_kept_and_handed_back():
    outside, plain = resident(), faults()
    with heap.keep_freed_memory():
        faults()
        assert faults() < plain / 4
        assert resident() > outside + 3 * SIZE
    assert resident() < outside + 2 * SIZE


def test_other_systems_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with heap.keep_freed_memory():
        pass
