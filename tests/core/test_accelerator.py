"""The Accelerator of a process: its device, and the options that reach it."""

import torch

from fastdiff.core.accelerator import make_accelerator


def test_it_is_on_the_gpu_where_there_is_one():
    accelerator = make_accelerator(gradient_accumulation_steps=3)
    assert accelerator.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert (accelerator.num_processes, accelerator.gradient_accumulation_steps) == (1, 3)
    assert accelerator.mixed_precision == "no"
