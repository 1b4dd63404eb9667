"""A lane of a stream: one endless pass over some of its shards, shuffled block by block."""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice

from ..core.errors import FastdiffError
from .order import permutation
from .stream_source import Row, StreamSource

# [block, epoch, index in the epoch's order of shards, row of the shard]: the place where a block begins.
Mark = list[int]
START_MARK: Mark = [0, 0, 0, 0]
After = tuple[int, int, int]  # the last three entries of a mark


class Lane:
    """An endless pass over the shards number, number + lanes, ... of a source, reordered in every epoch.

    Args:
        source: the source of the rows.
        number: index of the lane.
        lanes: number of lanes in all.
        block: number of rows that are shuffled together.
        seed: seed of the orders of shards and rows.
        mark: place where reading starts.
    """

    def __init__(
        self, source: StreamSource, number: int, lanes: int, block: int, seed: int, mark: Mark
    ) -> None:
        self.source = source
        self.number = number
        self.block_size = block
        self.seed = seed
        self.shards = range(number, source.shards, lanes)
        # Shifted, so that the lanes load their next blocks one after the other, not all at the same time.
        self.shift = number * block // lanes
        self.marks = [mark]  # marks of the blocks in use, and of the next one
        self.block = mark[0] - 1  # index of the block in memory
        self.start = 0  # index of the block's first item
        self.block_rows: list[Row] = []
        self.walk = self._walk(*mark[1:])

    def item(self, index: int) -> Row:
        """Return item `index` of the lane; items before it are read and dropped."""
        while self.block < self.block_of(index):
            self._load()
        return self.block_rows[index - self.start]

    def block_of(self, index: int) -> int:
        """Return the index of the block that holds an item."""
        return (index + self.shift) // self.block_size

    def passed(self, index: int) -> bool:
        """Return whether an item lies before the block in memory, so that it cannot be read any more."""
        return self.block_of(index) < (self.block if self.block_rows else self.block + 1)

    def mark(self, index: int) -> Mark | None:
        """Return the last mark at or before an item, or None, and drop earlier marks.

        Another thread may add marks at the same time.
        """
        last = bisect_right([mark[0] for mark in self.marks], self.block_of(index)) - 1
        if last < 0:
            return None
        mark = self.marks[last]
        del self.marks[:last]
        return mark

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
        """Yield rows endlessly from a mark on, each with the mark's entries for the row after it."""
        while True:
            empty = place == row == 0
            shards = permutation(len(self.shards), self.seed, "shards", self.number, epoch).tolist()
            while place < len(shards):
                for each in self.source.rows(self.shards[shards[place]], row):
                    empty = False
                    yield (epoch, place, each.number + 1), each
                place += 1
                row = 0
            if empty:
                named = ", ".join(str(shard + 1) for shard in self.shards[:8])
                raise FastdiffError(f"{self.source.name}: no rows in shards {named}; remove the empty files")
            epoch += 1
            place = 0
