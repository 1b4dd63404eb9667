"""Batches in their order, read ahead in a background thread."""

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from fastdiff.batches import Batch, Readable, Rows, share

AHEAD = 3  # global batches


class Loader:
    """next() yields parts 0 .. parts-1 of the global batch at `position`, then those of position + size, ...

    Part i of rank r is batch_at(..., rank=i * world + rank, world=world * parts): all parts of all ranks are one batch.
    waited: seconds that next() stood waiting for the reader; the caller may set it to 0. A reader that failed answers
    every next() with its error.
    """

    def __init__(
        self, dataset: Readable, position: int, size: int, parts: int = 1, seed: int = 0, flip: bool = False,
        device: torch.device | str = "cpu", rank: int = 0, world: int = 1, guidance: tuple[float, float] | None = None,
    ):  # fmt: skip
        share(position, size, 0, world * parts)  # complains of a size that does not divide
        self.dataset, self.size, self.parts, self.seed, self.flip = dataset, size, parts, seed, flip
        self.device, self.rank, self.world, self.guidance = torch.device(device), rank, world, guidance
        self.waited = 0.0
        self._position = position  # of the next global batch to read
        self._read_ahead: deque[Future[list[Rows]]] = deque()
        self._parts: deque[Rows] = deque()  # of the global batch in use
        self._reader = ThreadPoolExecutor(1, "fastdiff-reader")
        for _ in range(AHEAD):
            self._ask()

    def next(self) -> Batch:
        """The next batch, on the device. Raises what stopped the reader."""
        if not self._parts:
            start = time.perf_counter()
            rows = self._read_ahead[0].result()
            self.waited += time.perf_counter() - start
            self._read_ahead.popleft()
            self._parts.extend(rows)
            self._ask()
        return self._parts.popleft().batch(self.seed, self.flip, self.device, self.guidance)

    def close(self) -> None:
        """End the thread; what it is reading at the moment is waited for."""
        self._reader.shutdown(cancel_futures=True)

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _ask(self) -> None:
        self._read_ahead.append(self._reader.submit(self._read, self._position))
        self._position += self.size

    def _read(self, position: int) -> list[Rows]:
        """This rank's share of a global batch, in parts: position + r + w j is in part j modulo parts."""
        rows = self.dataset.read(position, self.size, self.seed, self.rank, self.world)
        parts = [rows.part(i, self.parts) for i in range(self.parts)]
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):  # else pinning opens a context on the first device
                parts = [part.pinned() for part in parts]
        return parts
