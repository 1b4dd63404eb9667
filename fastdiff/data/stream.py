"""Streams: data that are read during training and shuffled in blocks; resuming needs no saved buffer."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..core.errors import at_least_one
from .batch import Rows
from .dataset import Dataset, Marks
from .images import Colour
from .labels import LabelColumn
from .lane import START_MARK, Lane, Mark
from .order import rank_positions
from .stream_source import StreamSource

if TYPE_CHECKING:
    import datasets

MAX_LANES = 64
READER_THREADS = 4  # threads that read and decode
FINGERPRINT_EXAMPLES = 16  # number of examples that a fingerprint depends on

T = TypeVar("T")
Result = TypeVar("Result")


class Stream:
    """Images and labels read from shards, in an order that depends only on (seed, position).

    With L lanes, shard s belongs to lane s mod L, and position p is item p // L of lane p mod L. A lane reads
    its shards endlessly, in a new order every epoch, and shuffles its rows in blocks of ceil(buffer / L).

    Args:
        name: name of the data.
        base: the table to read.
        resolution: side in pixels to which images are resized and cropped.
        colour: "rgb" or "grey".
        column: the column of images; see StreamSource.
        label_column: the column of labels; see StreamSource.
        classes: number of classes, if the table does not state it.
        buffer: number of rows that are held in memory to be shuffled.
        reference: number of examples, from the first, that metrics compare samples with.
    """

    noise = None
    image = None
    ahead = 3

    def __init__(
        self,
        name: str,
        base: "datasets.IterableDataset",
        resolution: int,
        colour: Colour,
        column: str | None,
        label_column: LabelColumn,
        classes: int,
        buffer: int,
        reference: int,
    ) -> None:
        at_least_one("resolution", resolution)
        at_least_one("buffer", buffer)
        at_least_one("reference", reference)
        self.name = name
        self.source = StreamSource(name, base, resolution, colour, column, label_column, classes)
        self.lanes = min(self.shards, MAX_LANES)
        self.block = -(-buffer // self.lanes)
        self._reference = reference
        self._lanes: dict[int, Lane] = {}
        self._marks: dict[int, Mark] = {}

    @property
    def shards(self) -> int:
        """Number of shards."""
        return self.source.shards

    @property
    def classes(self) -> int:
        """Number of classes; 0 when unlabelled."""
        return self.source.classes

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes; () if unknown or unlabelled."""
        return self.source.names

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example: (C, H, W)."""
        return self.source.shape

    @property
    def described(self) -> str:
        """A description of the data for the terminal, a phrase."""
        shards = "shard" if self.shards == 1 else "shards"
        skipped = self.source.passed_over
        hint = f", without the labels in {skipped!r}: set `classes` to read them" if skipped else ""
        return f"a stream of {self.shards:,} {shards} of {self.name}{hint}"

    @property
    def labels(self) -> Tensor | None:
        """Labels (N,) of the reference examples; None when unlabelled."""
        return self.reference.labels if self.classes else None

    @cached_property
    def reference(self) -> Dataset:
        """The first examples, in the order of the shards, which metrics compare samples with."""
        return self.source.first(self._reference)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that depend on the order, on the first examples and on how they are decoded."""
        settings = (self.shape, self.classes, self.shards, self.lanes, self.block)
        first = self.source.first(FINGERPRINT_EXAMPLES).fingerprint
        return hashlib.sha256(f"{settings} {first}".encode()).hexdigest()[:16]

    def read(self, position: int, size: int, seed: int, rank: int = 0, world: int = 1) -> Rows:
        """Return the host side of one rank's rows of a global batch; see `dataset.batch_at`.

        Increasing positions are read in sequence; a smaller position is reached by rereading from the start.
        """
        positions = rank_positions(position, size, rank, world)
        lanes: list[Lane] = []  # the lane of each position
        items: dict[Lane, list[int]] = defaultdict(list)
        for p in positions.tolist():
            item, number = divmod(p, self.lanes)
            lane = self._lane(number, seed, item)
            lanes.append(lane)
            items[lane].append(item)
        with ThreadPoolExecutor(READER_THREADS, "fastdiff-decoder") as pool:
            read = spread(pool, lambda lane: [lane.item(i) for i in items[lane]], list(items))
            rows_of = {lane: iter(rows) for lane, rows in zip(items, read)}
            rows = [next(rows_of[lane]) for lane in lanes]
            examples = spread(pool, self.source.example, rows)
        pixels = torch.from_numpy(np.stack([image for image, _ in examples]))
        labels = torch.tensor([label for _, label in examples]) if self.classes else None
        return Rows(self.name, position, positions, pixels, labels)

    def marks(self, position: int) -> Marks:
        """Return the marks at a position of all lanes that were read.

        Args:
            position: at most the position read so far, and at least that of the previous call.
        """
        marks = {}
        for number, lane in list(self._lanes.items()):
            first_item = -(
                (number - position) // self.lanes
            )  # the lane's first item at or after the position
            mark = lane.mark(first_item)
            if mark:
                marks[str(number)] = mark
        return marks

    def seek(self, marks: Marks) -> None:
        """Restart reading from the marks of some or all processes; a lane without a mark starts over."""
        self._lanes = {}
        self._marks = {int(number): list(mark) for number, mark in marks.items()}

    def _lane(self, number: int, seed: int, item: int) -> Lane:
        lane = self._lanes.get(number)
        if lane is None and number in self._marks:
            lane = self._open(number, seed, self._marks[number])
        if lane is None or lane.seed != seed or lane.passed(item):
            lane = self._open(number, seed, START_MARK)
        self._lanes[number] = lane
        return lane

    def _open(self, number: int, seed: int, mark: Mark) -> Lane:
        return Lane(self.source, number, self.lanes, self.block, seed, mark)


def spread(pool: ThreadPoolExecutor, work: Callable[[T], Result], things: list[T]) -> list[Result]:
    """Return work(thing) for each thing, computed on the threads of a pool.

    There is one job per thread, because starting a job takes about as long as decoding an image.
    """

    def job(some: list[T]) -> list[Result]:
        return [work(thing) for thing in some]

    jobs = [pool.submit(job, things[first::READER_THREADS]) for first in range(READER_THREADS)]
    done = [job.result() for job in jobs]
    return [done[i % READER_THREADS][i // READER_THREADS] for i in range(len(things))]


def merged(marks: Iterable[Marks]) -> Marks:
    """Merge the marks of all processes at one position: the furthest mark of each lane counts."""
    furthest: Marks = {}
    for each in marks:
        for number, mark in each.items():
            furthest[number] = max(mark, furthest.get(number, mark))
    return furthest
