"""The cost of sampling besides time: memory and arithmetic."""

import resource
from contextlib import suppress
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from .denoiser import Denoiser


def flops(model: Denoiser) -> int | None:
    """Return the floating-point operations of one evaluation of one sample.

    Matrix products and convolutions count. None for a model without any, and for a cascade, whose
    evaluations differ.
    """
    if model.base:
        return None
    x = torch.zeros(1, *model.shape, device=model.device)
    t = torch.tensor(model.schedule.t_max / 2, dtype=torch.float64)
    image = model.condition_channels
    cond = {"image": torch.zeros(1, image, *model.shape[1:], device=model.device)} if image else {}
    cond |= {"label": torch.zeros(1, dtype=torch.int64, device=model.device)} if model.classes else {}
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(x, t, t, cond or None)
    return counter.get_total_flops() or None


def forget_peak(device: torch.device) -> None:
    """Reset the peak of memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # Linux alone can forget a process's peak
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb(device: torch.device) -> float:
    """Return the peak of memory since `forget_peak` in MiB: of tensors on a GPU, of the process on a CPU.

    On a system that cannot reset a process's peak (other than Linux) it is that of the process's whole life.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
