"""Data read while it is trained on: shards in lanes, shuffled in blocks, any position found again without a saved buffer."""

import hashlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import FastdiffError, at_least_one, first_line
from .batch import Rows
from .dataset import Dataset, permutation, share
from .images import Colour, decode, decode_one, image_columns, list_folder

if TYPE_CHECKING:
    import datasets

LANES = 64
THREADS = 4  # that read and decode
PEEK = 16  # examples in a fingerprint
START = [0, 0, 0, 0]


@dataclass(frozen=True)
class _Row:
    """A row as it is stored, and where."""

    shard: int
    number: int
    fields: dict[str, Any]


class Stream:
    """Images and labels read from shards in an order that is a function of (seed, position) alone.

    Shard s belongs to lane s mod L; position p is item p // L of lane p mod L. A lane reads its shards
    endlessly, in an order of each epoch's own, and shuffles its rows within blocks of ceil(buffer / L).
    """

    noise = image = None
    ahead = 3

    def __init__(
        self, name: str, base: "datasets.IterableDataset", resolution: int, colour: Colour, column: str | None,
        label_column: str | None, classes: int, buffer: int, reference: int,
    ) -> None:  # fmt: skip
        import datasets

        for option, value in (("resolution", resolution), ("buffer", buffer), ("reference", reference)):
            at_least_one(option, value)
        self.name, self.resolution, self.colour, self._kept = name, resolution, colour, reference
        features = base.features or {}
        nested = {f"{outer}.{inner}": (outer, inner) for outer, kind in features.items() if isinstance(kind, dict)
                  for inner in kind}  # fmt: skip
        self._paths = {key: (key,) for key in features} | nested
        kinds = {
            key: features[path[0]][path[1]] if len(path) > 1 else features[key]
            for key, path in self._paths.items()
        }
        self.column, self.label_column = image_columns(name, kinds, column, label_column)
        self.classes = _classes(name, kinds, self.label_column, classes)

        used = {self.column, *self._paths.get(self.label_column, ())[:1], "__url__"} & set(features)
        try:
            self._base = base.select_columns(sorted(used)).cast_column(
                self.column, datasets.Image(decode=False)
            )
        except Exception as error:
            raise FastdiffError(f"data set {name!r}: column {self.column!r} does not hold images") from error
        self.shards = base.num_shards
        self.lanes = min(self.shards, LANES)
        self.block = -(-buffer // self.lanes)
        self._lanes: dict[int, _Lane] = {}
        self._marks: dict[int, list[int]] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example: (C, H, W)."""
        return 3 if self.colour == "rgb" else 1, self.resolution, self.resolution

    @property
    def described(self) -> str:
        """One phrase for the terminal."""
        return f"a stream of {self.shards:,} shard{'s' * (self.shards > 1)} of {self.name}"

    @property
    def labels(self) -> Tensor | None:
        """Those of the reference; None when unlabelled."""
        return self.reference.labels if self.classes else None

    @cached_property
    def reference(self) -> Dataset:
        """What stands for the data when figures are computed: the first examples, in the shards' own order."""
        return self._first(self._kept)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with the order, with the first examples and with what is made of them."""
        settings = (self.shape, self.classes, self.shards, self.lanes, self.block)
        return hashlib.sha256(f"{settings} {self._first(PEEK).fingerprint}".encode()).hexdigest()[:16]

    def read(self, position: int, size: int, seed: int, rank: int = 0, world: int = 1) -> Rows:
        """The host side of batch_at. Positions that grow are read on; a smaller one is walked to from the beginning."""
        positions = share(position, size, rank, world)
        wanted: dict[_Lane, list[int]] = defaultdict(list)
        spots = []
        for item, number in (divmod(p, self.lanes) for p in positions.tolist()):
            spots.append(self._lane(number, seed, item))
            wanted[spots[-1]].append(item)
        with ThreadPoolExecutor(THREADS, "fastdiff-decoder") as pool:
            taken = _spread(pool, lambda lane: iter([lane.item(i) for i in wanted[lane]]), list(wanted))
            rows = dict(zip(wanted, taken))
            examples = _spread(pool, self._example, [next(rows[lane]) for lane in spots])
        pixels = torch.from_numpy(np.stack([image for image, _ in examples]))
        labels = torch.tensor([label for _, label in examples]) if self.classes else None
        return Rows(self.name, position, positions, pixels, labels)

    def marks(self, position: int) -> dict[str, list[int]]:
        """Where each lane that was read is found at `position`: [block, epoch, place in its order, row of the shard].

        position: not beyond what was read, nor below that of an earlier call.
        """
        lanes = {
            number: lane.mark(-((number - position) // self.lanes))
            for number, lane in list(self._lanes.items())
        }
        return {str(number): mark for number, mark in lanes.items() if mark}

    def seek(self, marks: dict[str, list[int]]) -> None:
        """Begin anew from marks, of all processes or of some; a lane without one walks from its beginning."""
        self._lanes, self._marks = {}, {int(number): list(mark) for number, mark in marks.items()}

    def rows(self, shard: int, start: int = 0) -> Iterator[_Row]:
        """The rows of a shard from one on, nothing decoded."""
        number = start
        try:
            for fields in self._base.shard(self.shards, shard).skip(start):
                yield _Row(shard, number, fields)
                number += 1
        except Exception as error:  # whatever goes wrong in a file, its format or the network
            raise FastdiffError(
                f"{self._where(shard, number)}: cannot be read on ({first_line(error)}); mend it and run the same command "
                "again: it goes on from its last state"
            ) from error

    def _lane(self, number: int, seed: int, item: int) -> "_Lane":
        lane = self._lanes.get(number)
        if lane is None and number in self._marks:
            lane = _Lane(self, number, seed, self._marks[number])
        if lane is None or lane.seed != seed or lane.passed(item):
            lane = _Lane(self, number, seed, START)
        self._lanes[number] = lane
        return lane

    def _where(self, shard: int, number: int) -> str:
        return f"{self.name}: shard {shard + 1} of {self.shards}, row {number}"

    def _source(self, row: _Row) -> tuple[str, dict[str, Any]]:
        """Where an image is, and the image as it is stored."""
        source = row.fields[self.column] or {"path": None, "bytes": None}
        names = " of ".join(filter(None, (source["path"], row.fields.get("__url__"))))
        return self._where(row.shard, row.number) + f" ({names})" * bool(names), source

    def _label(self, row: _Row) -> int:
        value: Any = row.fields
        for key in self._paths.get(self.label_column, ()):
            value = value and value.get(key)
        if self.classes and (not isinstance(value, int) or not 0 <= value < self.classes):
            wanted = f"expected 0 to {self.classes - 1} in {self.label_column!r} (`classes: {self.classes}`)"
            raise FastdiffError(
                f"{self._source(row)[0]}: {'no label' if value is None else f'label {value!r}'}, {wanted}"
            )
        return value

    def _example(self, row: _Row) -> tuple[np.ndarray, int]:
        return decode_one(*self._source(row), self.resolution, self.colour), self._label(row)

    def _first(self, count: int) -> Dataset:
        labels: list[int] = []

        def sources(rows: Iterable[_Row]) -> Iterator[tuple[str, dict[str, Any]]]:
            for row in rows:
                labels.append(self._label(row))
                yield self._source(row)

        rows = islice(chain.from_iterable(map(self.rows, range(self.shards))), count)
        examples = decode(sources(rows), count, self.resolution, self.colour)
        return Dataset(self.name, examples, torch.tensor(labels) if self.classes else None, self.classes)


class _Lane:
    """One endless walk through a lane's shards, a shuffled block at a time."""

    def __init__(self, stream: Stream, number: int, seed: int, mark: list[int]) -> None:
        self.stream, self.number, self.seed = stream, number, seed
        self.shards = range(number, stream.shards, stream.lanes)
        self.shift = (
            number * stream.block // stream.lanes
        )  # the lanes reach their next blocks one by one, not all at once
        self.marks = [mark]  # where the blocks in use begin, and the next
        self.block, self.start, self.block_rows = (
            mark[0] - 1,
            0,
            [],
        )  # the block in memory, and its first item
        self.walk = self._walk(*mark[1:])

    def item(self, index: int) -> _Row:
        """Item `index` of the lane; what lies before it is read and passed over."""
        while self.block < self.block_of(index):
            self._load()
        return self.block_rows[index - self.start]

    def block_of(self, index: int) -> int:
        """The block that holds an item."""
        return (index + self.shift) // self.stream.block

    def passed(self, index: int) -> bool:
        """Whether an item lies behind what the lane holds."""
        return self.block_of(index) < (self.block if self.block_rows else self.block + 1)

    def mark(self, index: int) -> list[int] | None:
        """The last mark not beyond an item; those before it are forgotten. The reader may be adding marks meanwhile."""
        behind = bisect_right([mark[0] for mark in self.marks], self.block_of(index)) - 1
        if behind < 0:
            return None
        found = self.marks[behind]
        del self.marks[:behind]
        return found

    def _load(self) -> None:
        block, length = self.block + 1, self.stream.block
        self.start = max(0, block * length - self.shift)
        rows = list(islice(self.walk, (block + 1) * length - self.shift - self.start))
        shuffled = permutation(len(rows), self.seed, "rows", self.number, block)
        self.block_rows = [rows[i][1] for i in shuffled.tolist()]
        self.marks.append([block + 1, *rows[-1][0]])
        self.block = block

    def _walk(self, epoch: int, place: int, row: int) -> Iterator[tuple[tuple[int, int, int], _Row]]:
        """Rows from a mark on, each with the place after it: epoch, place in the epoch's order, row of the shard."""
        while True:
            fruitless = place == row == 0
            shards = permutation(len(self.shards), self.seed, "shards", self.number, epoch).tolist()
            while place < len(shards):
                for found in self.stream.rows(self.shards[shards[place]], row):
                    fruitless = False
                    yield (epoch, place, found.number + 1), found
                place, row = place + 1, 0
            if fruitless:
                empty = ", ".join(str(shard + 1) for shard in self.shards[:8])
                raise FastdiffError(f"{self.stream.name}: no rows in shards {empty}; remove what is empty")
            epoch, place = epoch + 1, 0


def _spread(pool: ThreadPoolExecutor, work: Callable[[Any], Any], things: list[Any]) -> list[Any]:
    """work of each thing: one job a thread, as a job costs about what a small image does."""
    jobs = [
        pool.submit(lambda some: [work(thing) for thing in some], things[i::THREADS]) for i in range(THREADS)
    ]
    done = [job.result() for job in jobs]
    return [done[i % THREADS][i // THREADS] for i in range(len(things))]


def merged(marks: Iterable[dict[str, list[int]]]) -> dict[str, list[int]]:
    """The marks of all processes at one position as one: of each lane the furthest."""
    found: dict[str, list[int]] = {}
    for number, mark in chain.from_iterable(each.items() for each in marks):
        found[number] = max(mark, found.get(number, mark))
    return found


def stream_folder(path: str, split: str) -> "datasets.IterableDataset":
    """The images that list_folder finds as a table to stream, mixed: a shard of neighbours would hold a single class."""
    import datasets

    root, files, names = list_folder(path, split)
    mixed = [files[i] for i in permutation(len(files), "files").tolist()]
    shards = max(min(len(files), LANES), len(files) // 1024)
    features = {"image": datasets.Image(decode=False)} | (
        {"label": datasets.ClassLabel(names=names)} if names else {}
    )
    dealt = [[(str(root / file), file.parts[0]) for file in mixed[i::shards]] for i in range(shards)]
    options = {"dealt": dealt, "names": tuple(names)}
    return datasets.IterableDataset.from_generator(_files, datasets.Features(features), options)


def _files(dealt: list[list[tuple[str, str]]], names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for file, parent in chain.from_iterable(dealt):
        yield {"image": {"path": file, "bytes": None}} | ({"label": names.index(parent)} if names else {})


def _classes(name: str, kinds: dict[str, Any], label_column: str | None, classes: int) -> int:
    """How many classes there are, as stated by the data or else by the option."""
    if label_column is None:
        if classes:
            others = ", ".join(kinds)
            raise FastdiffError(
                f"data set {name!r}: {classes} classes, but no labels found; set `label_column`: {others}"
            )
        return 0
    kind = kinds[label_column]
    if not hasattr(kind, "num_classes") and "int" not in getattr(kind, "dtype", ""):
        raise FastdiffError(f"data set {name!r}: labels in column {label_column!r} must be integers")
    if classes < 0 or not (classes or getattr(kind, "num_classes", 0)):
        raise FastdiffError(
            f"data set {name!r}: set `classes` to how many kinds of label {label_column!r} has"
        )
    return classes or kind.num_classes
