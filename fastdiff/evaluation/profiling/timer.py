"""Comparable times: of functions that run in turn, on a batch whose forward pass is long enough."""

import time
from collections.abc import Callable
from typing import Any

import torch

from ...core.denoiser import Denoiser

Work = Callable[[], Callable[[], Any]]  # prepares and returns the function that is timed


def processor_alone() -> bool:
    """Return whether one CPU thread does all work."""
    return torch.get_num_threads() == 1 and not torch.cuda.is_available()


def in_turn(works: list[Work], repeats: int) -> list[float]:
    """Return the shortest time of each work in seconds, without its preparation.

    The works run in turn, so that other load affects all of them. With one thread on a CPU the times are CPU
    times, which exclude other processes.

    Args:
        works: works to time.
        repeats: number of times that each work is timed.
    """
    now = time.process_time if processor_alone() else time.perf_counter
    least = [float("inf")] * len(works)
    for _ in range(repeats):
        for i, prepare in enumerate(works):
            work = prepare()
            start = now()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            least[i] = min(least[i], now() - start)
    return least


def network_only(model: Denoiser, batch: int, passes: int) -> Work:
    """Return a work that runs only forward passes of the network, on noise."""
    x = torch.randn(batch, *model.shape, device=model.device)
    dtype = next(model.net.parameters()).dtype
    t = torch.full((batch,), 500.0, device=model.device, dtype=dtype)

    @torch.inference_mode()
    def work() -> None:
        for _ in range(passes):
            model.net(x.to(dtype), t, t if model.two_times else None, None)

    return lambda: work


def batch_of(model: Denoiser, batch: int, seconds: float) -> tuple[int, float]:
    """Double a batch until a forward pass lasts long enough.

    Args:
        model: model whose network is timed.
        batch: smallest batch.
        seconds: shortest duration of a forward pass, in seconds.

    Returns:
        The batch, and the duration of its forward pass in seconds.
    """
    while (forward := in_turn([network_only(model, batch, 1)], 3)[0]) < seconds and batch < 2**16:
        batch *= 2
    return batch, forward
