"""The only place where an Accelerator is created."""

import os
from typing import Any

import torch
from accelerate import Accelerator

PREFIX = "ACCELERATE_"
# The variables of accelerate that choose devices or messages. All others would change a training: divide its
# gradients, compile or shard its networks, or change their precision.
KEPT = {
    "ACCELERATE_USE_CPU",
    "ACCELERATE_TORCH_DEVICE",
    "ACCELERATE_CPU_AFFINITY",
    "ACCELERATE_NUM_PROCESSES",
    "ACCELERATE_BYPASS_DEVICE_MAP",
    "ACCELERATE_IN_TPU_POD",
    "ACCELERATE_USE_SAGEMAKER",
    "ACCELERATE_SAGEMAKER_DISTRIBUTED_TYPE",
    "ACCELERATE_DEBUG_MODE",
    "ACCELERATE_DEBUG_RDV_FILE",
    "ACCELERATE_LOG_LEVEL",
    "ACCELERATE_ENABLE_RICH",
}


def make_accelerator(**options: Any) -> Accelerator:
    """Return the Accelerator of this process: on a GPU if one is available, else on the CPU.

    The variables of accelerate in the environment that would change a training, which `accelerate launch`
    sets from its options and configuration file, are removed: a recipe alone decides.

    Args:
        options: arguments of `accelerate.Accelerator`, for example mixed_precision.
    """
    for name in [name for name in os.environ if name.startswith(PREFIX) and name not in KEPT]:
        del os.environ[name]
    return Accelerator(cpu=not torch.cuda.is_available(), **options)
