"""The one place where an Accelerator is made."""

from typing import Any

import torch
from accelerate import Accelerator


def make_accelerator(**options: Any) -> Accelerator:
    """Return the Accelerator of this process: on a GPU where there is one, else on the CPU.

    Args:
        options: arguments of `accelerate.Accelerator`, such as mixed_precision.
    """
    return Accelerator(cpu=not torch.cuda.is_available(), **options)
