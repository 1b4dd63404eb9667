"""The only place where an Accelerator is created."""

from typing import Any

import torch
from accelerate import Accelerator


def make_accelerator(**options: Any) -> Accelerator:
    """Return the Accelerator of this process: on a GPU if one is available, else on the CPU.

    Args:
        options: arguments of `accelerate.Accelerator`, for example mixed_precision.
    """
    return Accelerator(cpu=not torch.cuda.is_available(), **options)
