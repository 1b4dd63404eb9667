"""Times that can be compared: of works done in turn, on a batch whose forward pass is long enough."""

import time
from collections.abc import Callable
from typing import Any

import torch

from ...core.denoiser import Denoiser

Work = Callable[[], Callable[[], Any]]  # prepares something, and returns the function that is timed


def processor_alone() -> bool:
    """Return whether all work is done by one thread of the processor."""
    return torch.get_num_threads() == 1 and not torch.cuda.is_available()


def in_turn(works: list[Work], repeats: int) -> list[float]:
    """Return the least seconds of each work, without its preparation.

    They take turns, so that all see the same machine. With one thread on a CPU these are the processor's
    seconds, to which nothing else that runs there adds.

    Args:
        works: the works.
        repeats: how often each is timed.
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
    """Return forward passes of the network alone, on noise."""
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
        model: the model.
        batch: the smallest batch.
        seconds: that a pass should last at least.

    Returns:
        the batch, and the seconds of its forward pass.
    """
    while (forward := in_turn([network_only(model, batch, 1)], 3)[0]) < seconds and batch < 2**16:
        batch *= 2
    return batch, forward
