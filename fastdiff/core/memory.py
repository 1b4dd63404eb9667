"""Memory: whether something fits, and errors of allocation as one-line messages."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from .errors import FastdiffError, first_line

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# What allocators of torch and C++ say in a RuntimeError.
ALLOCATOR_WORDS = ("out of memory", "allocate memory", "not enough memory", "bad_alloc", "bad allocation")


@contextmanager
def enough_memory(remedy: str) -> Iterator[None]:
    """Turn a failed allocation in a block, on any device, into a FastdiffError of one line.

    Args:
        remedy: the settings that decide how much is needed, and what to do.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise FastdiffError(f"out of memory ({first_line(error)[:120]}): {remedy}") from None
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory could not be allocated."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in ALLOCATOR_WORDS)


def check_memory(needed: int, what: str, remedy: str) -> None:
    """Raise FastdiffError if something is larger than the machine's memory, before it is allocated.

    Systems that overcommit memory would kill the process later, without a word.

    Args:
        needed: its size in bytes.
        what: its name and parts, for the error.
        remedy: what to do.
    """
    present = usable_memory()
    if needed > present:
        raise FastdiffError(
            f"{what} = {needed / 2**30:,.1f} GiB: expected less than the {present / 2**30:,.1f} GiB of "
            f"memory; {remedy}"
        )


def usable_memory() -> int:
    """Return the bytes of memory that this process may use: the machine's, or the container's limit."""
    present = psutil.virtual_memory().total
    for path in CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # "max" is no limit
            present = min(present, int(Path(path).read_text()))
    return present
