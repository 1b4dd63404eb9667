"""What a training frees stays with the process while it trains, and no longer."""

import ctypes
import subprocess
import sys

import pytest

from fastdiff.training import malloc as heap
from tests.helpers.paths import ROOT

glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
# Blocks of 64 MiB, each freed before the next, and the pages that the system hands out for eight of them. In
# a process of its own: what other tests have in memory, and what the system takes from it, is not measured.
CODE = """
import resource
from pathlib import Path
from fastdiff.training.malloc import keep_freed_memory

SIZE = 1 << 26

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        block = bytearray(SIZE)
        block[:: resource.getpagesize()] = bytes(SIZE // resource.getpagesize())
        del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def size():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

outside, plain = size(), faults()
with keep_freed_memory():
    faults()
    kept = faults()
    inside = size()
after = size()
print(kept < plain / 4, inside > outside + SIZE / 2, after < outside + SIZE / 2)
"""


@glibc
def test_freed_memory_is_kept_and_handed_back():
    done = subprocess.run([sys.executable, "-c", CODE], text=True, capture_output=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("True True True\n", "")


def test_other_systems_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with heap.keep_freed_memory():
        pass
