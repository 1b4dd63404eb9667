"""A lane of a stream: one endless walk through some of its shards, shuffled a block at a time."""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice

from ..core.errors import FastdiffError
from .order import permutation
from .stream_source import Row, StreamSource

# [block, epoch, place in the epoch's order of shards, row of the shard]: where a block begins.
Mark = list[int]
START_MARK: Mark = [0, 0, 0, 0]
After = tuple[int, int, int]  # the last three of a mark


class Lane:
    """The shards number, number + lanes, ... of a source, in an order of each epoch's own.

    Args:
        source: of the rows.
        number: of the lane.
        lanes: number of all lanes.
        block: rows that are shuffled among themselves.
        seed: of the orders of shards and rows.
        mark: where to begin.
    """

    def __init__(
        self, source: StreamSource, number: int, lanes: int, block: int, seed: int, mark: Mark
    ) -> None:
        self.source = source
        self.number = number
        self.block_size = block
        self.seed = seed
        self.shards = range(number, source.shards, lanes)
        # So that the lanes reach their next blocks one by one, and not all at once.
        self.shift = number * block // lanes
        self.marks = [mark]  # where the blocks in use begin, and the next
        self.block = mark[0] - 1  # the block in memory
        self.start = 0  # its first item
        self.block_rows: list[Row] = []
        self.walk = self._walk(*mark[1:])

    def item(self, index: int) -> Row:
        """Return item `index` of the lane; those before it are read and passed over."""
        while self.block < self.block_of(index):
            self._load()
        return self.block_rows[index - self.start]

    def block_of(self, index: int) -> int:
        """Return the block that holds an item."""
        return (index + self.shift) // self.block_size

    def passed(self, index: int) -> bool:
        """Return whether an item is before those that the lane holds."""
        return self.block_of(index) < (self.block if self.block_rows else self.block + 1)

    def mark(self, index: int) -> Mark | None:
        """Return the last mark not after an item, and forget those before it.

        Another thread may be adding marks meanwhile.
        """
        behind = bisect_right([mark[0] for mark in self.marks], self.block_of(index)) - 1
        if behind < 0:
            return None
        found = self.marks[behind]
        del self.marks[:behind]
        return found

    def _load(self) -> None:
        block = self.block + 1
        self.start = max(0, block * self.block_size - self.shift)
        end = (block + 1) * self.block_size - self.shift
        rows = list(islice(self.walk, end - self.start))
        shuffled = permutation(len(rows), self.seed, "rows", self.number, block)
        self.block_rows = [rows[i][1] for i in shuffled.tolist()]
        after = rows[-1][0]
        self.marks.append([block + 1, *after])
        self.block = block

    def _walk(self, epoch: int, place: int, row: int) -> Iterator[tuple[After, Row]]:
        """Yield rows without end from a mark on, each with what a mark after it says."""
        while True:
            empty = place == row == 0
            shards = permutation(len(self.shards), self.seed, "shards", self.number, epoch).tolist()
            while place < len(shards):
                for found in self.source.rows(self.shards[shards[place]], row):
                    empty = False
                    yield (epoch, place, found.number + 1), found
                place += 1
                row = 0
            if empty:
                named = ", ".join(str(shard + 1) for shard in self.shards[:8])
                raise FastdiffError(f"{self.source.name}: no rows in shards {named}; remove what is empty")
            epoch += 1
            place = 0
