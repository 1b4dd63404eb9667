"""The memory and the arithmetic that sampling takes."""

import resource
from contextlib import suppress
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from .denoiser import Denoiser


def flops(model: Denoiser) -> int | None:
    """Return the number of floating-point operations of one network evaluation for one sample.

    Only matrix products and convolutions count. None for a model without any of them, and for a cascade,
    whose evaluations differ in cost.
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
    """Reset the peak memory that `peak_mb` returns."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # only Linux can reset a process's peak
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb(device: torch.device) -> float:
    """Return the peak memory since `forget_peak` in MiB: of tensors on a GPU, of the process on a CPU.

    Systems other than Linux cannot reset a process's peak: there it is the peak since the process started.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
