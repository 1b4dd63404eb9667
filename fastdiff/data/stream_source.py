"""The source of a stream: a table of encoded images in shards, which is read row by row."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..core.errors import FastdiffError, first_line
from .dataset import Dataset
from .images import Colour, Source, decode, decode_one, find_image_column
from .labels import UNLABELLED, LabelColumn, find_label_column, is_bool, is_integer

if TYPE_CHECKING:
    import datasets


MAX_CLASSES = 10**6  # as of the data set `nothing`


@dataclass(frozen=True)
class Row:
    """A row as it is stored, and its place."""

    shard: int  # index of the shard
    number: int  # index of the row in its shard
    fields: dict[str, Any]  # values by column


class StreamSource:
    """A table in shards, whose rows hold images and labels.

    Args:
        name: name of the data, for errors.
        base: the table.
        resolution: side in pixels to which images are resized and cropped.
        colour: "rgb" or "grey".
        column: the column of images; None to find it by its type.
        label_column: the column of labels, `outer.inner` in a nested column; False for none, None to find it
            by its type or its name.
        classes: number of classes, if the table does not state it.
    """

    def __init__(
        self,
        name: str,
        base: "datasets.IterableDataset",
        resolution: int,
        colour: Colour,
        column: str | None,
        label_column: LabelColumn,
        classes: int,
    ) -> None:
        import datasets

        self.name = name
        self.resolution = resolution
        self.colour = colour
        features = base.features or {}
        self._paths: dict[str, tuple[str, ...]] = {key: (key,) for key in features}
        kinds = dict(features)
        for outer, kind in features.items():
            if isinstance(kind, dict):
                for inner in kind:
                    self._paths[f"{outer}.{inner}"] = (outer, inner)
                    kinds[f"{outer}.{inner}"] = kind[inner]
        self.column = find_image_column(name, kinds, column)
        found = find_label_column(name, kinds, label_column)
        # Labels that only have a usual name and no number of classes are left out; `passed_over` names them.
        unstated = label_column is None and found is not None and not classes
        left_out = unstated and stated_classes(kinds[found]) == 0
        self.passed_over = found if left_out else None
        self.label_column = None if left_out else found
        self.classes = number_of_classes(name, kinds, self.label_column, classes)
        self.names = tuple(getattr(kinds.get(self.label_column), "names", ()))
        self.names = self.names if len(self.names) == self.classes else ()

        used = {self.column, "__url__"}
        if self.label_column is not None:
            used.add(self._paths[self.label_column][0])
        try:
            columns = base.select_columns(sorted(used & set(features)))
            self._base = columns.cast_column(self.column, datasets.Image(decode=False))
        except Exception as error:
            raise FastdiffError(f"data set {name!r}: column {self.column!r} does not hold images") from error
        self.shards = base.num_shards

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example: (C, H, W)."""
        return 3 if self.colour == "rgb" else 1, self.resolution, self.resolution

    def rows(self, shard: int, start: int = 0) -> Iterator[Row]:
        """Yield the rows of a shard from row `start` on; the images are not decoded."""
        number = start
        try:
            for fields in self._base.shard(self.shards, shard).skip(start):
                yield Row(shard, number, fields)
                number += 1
        except Exception as error:  # whatever goes wrong in a file, its format or the network
            raise FastdiffError(
                f"{self._where(shard, number)}: cannot be read ({first_line(error)}); repair the file and "
                "run the same command again to resume"
            ) from error

    def example(self, row: Row) -> tuple[np.ndarray, int | None]:
        """Return the image of a row, uint8 (C, H, W), and its label."""
        where, image = self._image(row)
        return decode_one(where, image, self.resolution, self.colour), self._label(row)

    def first(self, count: int) -> Dataset:
        """Return the first `count` examples, in the order of the shards."""
        labels: list[int | None] = []

        def images(rows: Iterable[Row]) -> Iterator[Source]:
            for row in rows:
                labels.append(self._label(row))
                yield self._image(row)

        rows = islice(chain.from_iterable(map(self.rows, range(self.shards))), count)
        examples = decode(images(rows), count, self.resolution, self.colour, stream=True)
        known = torch.tensor(labels) if self.classes else None
        return Dataset(self.name, examples, known, self.classes, names=self.names)

    def _where(self, shard: int, number: int) -> str:
        return f"{self.name}: shard {shard + 1} of {self.shards}, row {number}"

    def _image(self, row: Row) -> Source:
        """Return an image's place, for errors, and the image as it is stored."""
        image = row.fields.get(self.column) or {"path": None, "bytes": None}
        where = self._where(row.shard, row.number)
        names = [name for name in (image["path"], row.fields.get("__url__")) if name]
        if names:
            where += f" ({' of '.join(names)})"
        return where, image

    def _label(self, row: Row) -> int | None:
        if self.label_column is None:
            return None
        value: Any = row.fields
        for key in self._paths[self.label_column]:
            value = value and value.get(key)
        if self.classes and (not isinstance(value, int) or not 0 <= value < self.classes):
            where, _ = self._image(row)
            label = "no label" if value is None else f"label {value!r}"
            raise FastdiffError(
                f"{where}: {label}, expected 0 to {self.classes - 1} in {self.label_column!r} "
                f"(`classes: {self.classes}`); {UNLABELLED}"
            )
        return None if value is None else int(value)


def number_of_classes(name: str, kinds: dict[str, Any], label_column: str | None, classes: int) -> int:
    """Return the number of classes: the option if it is set, otherwise the number that the data state.

    Args:
        name: name of the data, for errors.
        kinds: the table's features by column.
        label_column: the column of labels; None if there are no labels.
        classes: the option; 0 if it is not set.

    Raises:
        FastdiffError: if neither is known, or the labels are not integers.
    """
    if label_column is None:
        if classes:
            others = ", ".join(kinds)
            raise FastdiffError(
                f"data set {name!r}: classes = {classes}, but no column of labels; set `label_column` to one "
                f"of {others}"
            )
        return 0
    kind = kinds[label_column]
    stated = stated_classes(kind)
    if not (stated or is_integer(kind)):
        raise FastdiffError(
            f"data set {name!r}: labels in column {label_column!r} must be integers; {UNLABELLED}"
        )
    if classes > MAX_CLASSES:
        raise FastdiffError(f"data set {name!r}: classes = {classes:,}: expected at most {MAX_CLASSES:,}")
    if classes < 0 or not (classes or stated):
        raise FastdiffError(
            f"data set {name!r}: set `classes` to the number of classes in column {label_column!r}; "
            f"{UNLABELLED}"
        )
    return classes or stated


def stated_classes(kind: Any) -> int:
    """Return the number of classes that a column's type states; 0 if it states none."""
    return 2 if is_bool(kind) else getattr(kind, "num_classes", 0)
