"""Batches in their order; what must be fetched and decoded is read ahead in a background thread."""

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from .batch import Batch, Rows
from .dataset import Readable, share


class Loader:
    """next() yields parts 0 .. parts-1 of the global batch at `position`, then those of position + size, ...

    Part i of rank r is batch_at(..., rank=i * world + rank, world=world * parts): all parts of all ranks are one batch.
    waited: seconds that next() stood waiting for rows; the caller may set it to 0. A reader that failed answers every
    next() with its error. dataset.ahead batches are read ahead; where that is none, in memory, there is no thread: torch
    gives the interpreter lock away at every call, and handing it to and fro costs several times what the reading does.
    """

    def __init__(
        self, dataset: Readable, position: int, size: int, parts: int = 1, seed: int = 0, flip: bool = False,
        device: torch.device | str = "cpu", rank: int = 0, world: int = 1, guidance: tuple[float, float] | None = None,
    ) -> None:  # fmt: skip
        share(position, size, 0, world * parts)  # complains of a size that does not divide
        self.dataset, self.size, self.parts, self.seed, self.flip = dataset, size, parts, seed, flip
        self.device, self.rank, self.world, self.guidance = torch.device(device), rank, world, guidance
        self.waited = 0.0
        self._position = position  # of the next global batch to read
        self._pending: deque[Future[list[Rows]]] = deque()
        self._parts: deque[Rows] = deque()  # of the global batch in use
        self._reader = ThreadPoolExecutor(1, "fastdiff-reader")
        for _ in range(dataset.ahead):
            self._ask()

    def next(self) -> Batch:
        """The next batch, on the device. Raises what stopped the reader."""
        if not self._parts:
            start = time.perf_counter()
            self._parts.extend(self._take())
            self.waited += time.perf_counter() - start
        return self._parts.popleft().batch(self.seed, self.flip, self.device, self.guidance)

    def close(self) -> None:
        """End the thread; what it is reading at the moment is waited for."""
        self._reader.shutdown(cancel_futures=True)

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _take(self) -> list[Rows]:
        if not self._pending:
            rows = self._read(self._position)
            self._position += self.size
            return rows
        rows = self._pending[0].result()  # a failed one stays there
        self._pending.popleft()
        self._ask()
        return rows

    def _ask(self) -> None:
        self._pending.append(self._reader.submit(self._read, self._position))
        self._position += self.size

    def _read(self, position: int) -> list[Rows]:
        """This rank's share of a global batch, in parts: position + r + w j is in part j modulo parts."""
        rows = self.dataset.read(position, self.size, self.seed, self.rank, self.world)
        parts = [rows.part(i, self.parts) for i in range(self.parts)]
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):  # else pinning opens a context on the first device
                parts = [part.pinned() for part in parts]
        return parts
