"""The process's heap: a training keeps the memory that it frees, for its next step asks for the same again."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

TRIM, MAP = -1, -3  # glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD
MIB = 2**20


@contextmanager
def kept() -> Iterator[None]:
    """Inside, freed memory stays with the process; at the end it is handed back.

    glibc hands large blocks back at once, and the system zeroes them anew at every step: a tenth of a small
    network's time on a CPU. Afterwards the thresholds are the highest that it would find by itself. Other
    systems are left as they are.
    """
    try:
        c = ctypes.CDLL(None)
        set_to, trim = c.mallopt, c.malloc_trim
    except (AttributeError, OSError, TypeError):
        yield
        return
    set_to(TRIM, 1024 * MIB)
    set_to(MAP, 1024 * MIB)
    try:
        yield
    finally:
        set_to(TRIM, 64 * MIB)
        set_to(MAP, 32 * MIB)
        trim(0)
