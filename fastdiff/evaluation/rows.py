"""The rows of a benchmark: a file of one flat JSON object per line, appended to and never rewritten."""

import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..core.errors import FastdiffError
from ..core.files import parse_json, strict_json
from .metric_names import is_metric
from .summary import COST_FIELDS, Row, current_rows

FILE_NAMES = ("key", "cell", "a", "b")  # fields that are parts of the names of files next to the rows
TEXTS = (
    *FILE_NAMES,
    "model",
    "sampler",
    "spacing",
    "method",
    "extractor",
    "reference",
    "weights",
    "time",
)
INTEGERS = ("steps", "seed", "n", "noise", "params")
NUMBERS = (*COST_FIELDS, "guidance", "clip", "train_images", "train_seconds")
KINDS: dict[str, Any] = {
    **dict.fromkeys(TEXTS, str),
    **dict.fromkeys(INTEGERS, int),
    **dict.fromkeys(NUMBERS, int | float),
    "broken": list,
}


class RowStore:
    """The rows of a file while a sweep adds to them.

    Args:
        path: the file, which need not exist.
        writes: append to it; on processes other than the main one rows are only remembered.

    Raises:
        FastdiffError: if a line that is not the last is damaged.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path = path
        self.writes = writes
        known = read_rows(path)
        self._rows = {row["key"]: row for row in known}
        self._current = {row["key"] for row in current_rows(known)}

    def get(self, key: str) -> Row | None:
        """Return the row of a key, None if there is none."""
        return self._rows.get(key)

    def missing(self, key: str, metrics: Collection[str]) -> bool:
        """Return whether a key has no row yet, or one without some of these metrics."""
        row = self._rows.get(key)
        return row is None or not set(metrics) <= set(row.get("metrics", ()))

    def is_current(self, key: str) -> bool:
        """Return whether the row of a key is one that a report shows."""
        return key in self._current

    def update(self, row: Row) -> None:
        """Make a row the one that holds for its key and cell; append it unless it already is."""
        key = row["key"]
        if row != self._rows.get(key) or not self.is_current(key):
            if self.writes:
                append_row(self.path, row)
            self._current.add(key)
        self._rows[key] = row


def read_rows(path: str | Path) -> list[Row]:
    """Return all rows of a file, none if it does not exist; of rows that share a key the last one.

    A damaged last line, as a kill leaves it, is ignored. Rows are in the order of their last lines.

    Raises:
        FastdiffError: if another line is damaged, with its number.
    """
    path = Path(path)
    if not path.exists():
        return []
    rows: dict[str, Row] = {}
    for number, line in enumerate(_whole_lines(path.read_bytes()).splitlines(), start=1):
        row = _parse_row(line)
        if row is None:
            raise FastdiffError(
                f'{path}, line {number}: expected a JSON object with a "key"; mend or delete that line'
            )
        for name, value in row.items():
            if not _is_valid(name, value):
                raise FastdiffError(
                    f"{path}, line {number}: {name} = {value!r:.80}; mend or delete that line"
                )
        rows.pop(row["key"], None)
        rows[row["key"]] = row
    return list(rows.values())


def append_row(path: str | Path, row: Row) -> None:
    """Append a row, which is on disk on return; a damaged last line is first moved to `path`.broken."""
    line = strict_json(row).encode() + b"\n"
    with open(path, "a+b") as file:
        file.seek(0)
        data = file.read()
        whole = _whole_lines(data)
        if broken := data[len(whole) :]:
            with open(f"{path}.broken", "ab") as aside:
                aside.write(broken.removesuffix(b"\n") + b"\n")
                aside.flush()
                os.fsync(aside.fileno())
            file.truncate(len(whole))
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _is_valid(name: str, value: Any) -> bool:
    """Return whether a field of a row has the right type, and no slash if it names a file."""
    if name in FILE_NAMES and "/" in str(value):
        return False
    kind = KINDS.get(name, int | float if is_metric(name) else object)
    return value is None or isinstance(value, kind)


def _whole_lines(data: bytes) -> bytes:
    """Return the bytes of a file without a last line that lacks its newline or is not a row."""
    start = data.rfind(b"\n", 0, -1) + 1
    last = data[start:]
    return data if last.endswith(b"\n") and _parse_row(last) is not None else data[:start]


def _parse_row(line: bytes) -> Row | None:
    """Return a line as a row, None if it is not one; metrics of a row with broken samples are inf."""
    try:
        row = parse_json(line)
    except ValueError:
        return None
    if not (isinstance(row, dict) and isinstance(row.get("key"), str)):
        return None
    if row.get("broken"):
        diverged = [name for name, value in row.items() if value is None and is_metric(name)]
        row |= dict.fromkeys(diverged, math.inf)
    return row
