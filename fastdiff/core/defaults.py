"""The defaults of torch for new tensors, which a program that uses fastdiff may have changed."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def float32_on_cpu() -> Iterator[None]:
    """Create tensors in float32 on the CPU within the context, or within a decorated function.

    Whatever `torch.set_default_dtype`, `torch.set_default_device` and `with torch.device(...)` say: networks,
    grids and constants are made in the same precision, and moved to their devices by name.
    """
    dtype = torch.get_default_dtype()
    elsewhere = torch.get_default_device().type != "cpu"
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu") if elsewhere else nullcontext():
            yield
    finally:
        torch.set_default_dtype(dtype)
