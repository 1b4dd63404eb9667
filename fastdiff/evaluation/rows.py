"""The rows of a benchmark, one flat JSON object a line, appended and never rewritten; and what they say in sum."""

import math
import os
from pathlib import Path

from ..core.errors import FastdiffError
from ..core.files import parse_json, strict_json
from .metric_names import is_metric
from .summary import COSTS

FILES = ("key", "cell", "a", "b")  # what names files beside the rows
KINDS = (
    dict.fromkeys(
        (*FILES, "model", "sampler", "spacing", "method", "extractor", "reference", "weights", "time"), str
    )
    | dict.fromkeys(("steps", "seed", "n", "noise", "params"), int)
    | dict.fromkeys((*COSTS, "guidance", "clip", "train_images", "train_seconds"), int | float)
    | {"broken": list}
)


# ---- the file -------------------------------------------------------------------------------------------------------


def read_rows(path: str | Path) -> list[dict]:
    """All rows of a file, none if it does not exist; of rows that share a key the last one holds.

    A last line that a kill cut off, or that is no row, is ignored; one before it is an error. Rows are in the
    order of their last lines.
    """
    path = Path(path)
    if not path.exists():
        return []
    rows = {}
    for number, line in enumerate(_whole(path.read_bytes()).splitlines(), start=1):
        row = _row(line)
        if row is None:
            raise FastdiffError(
                f'{path}, line {number}: expected a JSON object with a "key"; mend or delete that line'
            )
        for name, value in row.items():
            kind = KINDS.get(name, int | float if is_metric(name) else object)
            if value is not None and not isinstance(value, kind) or name in FILES and "/" in str(value):
                raise FastdiffError(
                    f"{path}, line {number}: {name} = {value!r:.80}; mend or delete that line"
                )
        rows.pop(row["key"], None)
        rows[row["key"]] = row
    return list(rows.values())


def append_row(path: str | Path, row: dict) -> None:
    """Add one row, on disk when this returns; a broken last line is first moved to `path`.broken."""
    line = strict_json(row).encode() + b"\n"
    with open(path, "a+b") as file:
        file.seek(0)
        data = file.read()
        whole = _whole(data)
        if broken := data[len(whole) :]:
            with open(f"{path}.broken", "ab") as aside:
                aside.write(broken.removesuffix(b"\n") + b"\n")
                aside.flush()
                os.fsync(aside.fileno())
            file.truncate(len(whole))
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _whole(data):
    """The bytes of a file up to a last line without its newline, or that is no row."""
    start = data.rfind(b"\n", 0, -1) + 1
    last = data[start:]
    return data if last.endswith(b"\n") and _row(last) is not None else data[:start]


def _row(line):
    try:
        row = parse_json(line)
    except ValueError:
        return None
    if not (isinstance(row, dict) and isinstance(row.get("key"), str)):
        return None
    diverged = {
        name: math.inf
        for name, value in row.items()
        if value is None and row.get("broken") and is_metric(name)
    }
    return row | diverged


# ---- the metrics ----------------------------------------------------------------------------------------------------


# ---- the sum --------------------------------------------------------------------------------------------------------
