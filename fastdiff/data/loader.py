"""Batches in order; data that must be fetched and decoded are read ahead in a background thread."""

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from .batch import Batch, Rows
from .dataset import Readable
from .order import rank_positions


class Loader:
    """An endless source of micro-batches: `parts` of one global batch, then those of the next.

    Micro-batch i of rank r is batch_at(..., rank=i * world + rank, world=world * parts): all micro-batches of
    all ranks form one global batch. After the reader has failed, every call of `next` raises its error.

    `dataset.ahead` is the number of batches that are read ahead. It is 0 for data in memory, which need no
    thread: torch releases the interpreter lock at every call, and handing it over costs several times as much
    as reading.

    Args:
        dataset: the data.
        position: number of images seen before the first batch.
        size: number of examples in a global batch.
        parts: number of micro-batches per rank and global batch (gradient accumulation).
        seed: seed of the order of the examples and of the noise.
        flip: mirror each image with probability one half.
        device: device of the batches.
        rank: index of this process.
        world: number of processes.
        guidance: range of the guidance weights of conditions; see `batch_at`.

    Attributes:
        waited: seconds that `next` waited for rows; the caller may set it to 0.
    """

    def __init__(
        self,
        dataset: Readable,
        position: int,
        size: int,
        parts: int = 1,
        seed: int = 0,
        flip: bool = False,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        guidance: tuple[float, float] | None = None,
    ) -> None:
        rank_positions(position, size, 0, world * parts)  # raises if the size is not divisible
        self.dataset = dataset
        self.size = size
        self.parts = parts
        self.seed = seed
        self.flip = flip
        self.device = torch.device(device)
        self.rank = rank
        self.world = world
        self.guidance = guidance
        self.waited = 0.0
        self._position = position  # position of the next global batch to read
        self._pending: deque[Future[list[Rows]]] = deque()
        self._parts: deque[Rows] = deque()  # micro-batches of the current global batch
        self._reader = ThreadPoolExecutor(1, "fastdiff-reader")
        for _ in range(dataset.ahead):
            self._read_ahead()

    def next(self) -> Batch:
        """Return the next micro-batch on the device, or raise the error that stopped the reader."""
        if not self._parts:
            start = time.perf_counter()
            self._parts.extend(self._take())
            self.waited += time.perf_counter() - start
        return self._parts.popleft().batch(self.seed, self.flip, self.device, self.guidance)

    def close(self) -> None:
        """Stop the reader thread after the batch that it is reading."""
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
        self._read_ahead()
        return rows

    def _read_ahead(self) -> None:
        self._pending.append(self._reader.submit(self._read, self._position))
        self._position += self.size

    def _read(self, position: int) -> list[Rows]:
        """Read this rank's rows of a global batch, and deal them out to its micro-batches in turn."""
        rows = self.dataset.read(position, self.size, self.seed, self.rank, self.world)
        parts = [rows.micro_batch(i, self.parts) for i in range(self.parts)]
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):  # otherwise pinning opens a context on the first device
                parts = [part.pinned() for part in parts]
        return parts
