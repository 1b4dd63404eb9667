"""What does not fit into memory is refused in one line."""

import errno

import pytest
import torch

from fastdiff.core import memory
from fastdiff.core.errors import FastdiffError
from fastdiff.core.memory import check_memory, enough_memory, usable_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 101. GiB"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore lines"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_a_failed_allocation_is_one_line_with_its_remedy(error):
    line = r"^out of memory \(.+\): choose a smaller batch$"
    with pytest.raises(FastdiffError, match=line) as caught, enough_memory("choose a smaller batch"):
        raise error
    assert "\n" not in str(caught.value)


def test_other_errors_stay():
    with pytest.raises(RuntimeError, match="^shapes"), enough_memory("never said"):
        raise RuntimeError("shapes differ")


def test_what_is_larger_than_memory_is_refused_before_it_is_allocated(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text(f"{2**31}\n")
    monkeypatch.setattr(memory, "CGROUP_LIMITS", (str(tmp_path / "memory.max"), "/nowhere"))
    assert usable_memory() == 2**31
    check_memory(2**31, "some", "fewer")
    with pytest.raises(
        FastdiffError, match="^some = 3.0 GiB: expected less than the 2.0 GiB of memory; fewer$"
    ):
        check_memory(3 * 2**30, "some", "fewer")
    (tmp_path / "memory.max").write_text("max\n")
    assert usable_memory() > 2**28
