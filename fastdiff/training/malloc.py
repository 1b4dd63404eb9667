"""The process's heap: a training keeps the memory that it frees, as its next step needs the same again."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD = -1  # as in glibc's malloc.h
M_MMAP_THRESHOLD = -3
MIB = 2**20


@contextmanager
def kept() -> Iterator[None]:
    """Within the context, freed memory stays with the process; at the end it is returned to the system.

    glibc returns large blocks at once, and the system zeroes them anew at every step: a tenth of a small
    network's time on a CPU. Afterwards the thresholds are the highest that it would find by itself. Other
    systems are left as they are.
    """
    try:
        libc = ctypes.CDLL(None)
        set_threshold = libc.mallopt
        trim = libc.malloc_trim
    except (AttributeError, OSError, TypeError):
        yield
        return
    set_threshold(M_TRIM_THRESHOLD, 1024 * MIB)
    set_threshold(M_MMAP_THRESHOLD, 1024 * MIB)
    try:
        yield
    finally:
        set_threshold(M_TRIM_THRESHOLD, 64 * MIB)
        set_threshold(M_MMAP_THRESHOLD, 32 * MIB)
        trim(0)
