"""The rows of a benchmark: a file of one flat JSON object per line, appended to and never rewritten.

The keys of a row; a value that is unknown is null, and readers ignore keys that they do not know:

    key              hash of the fields that determine the metrics: those marked * below
    model *          name of the model; "real data, held out" for examples of the data: a row for each
                     division into examples and reference, without sampler, steps and cost
    sampler *        key of SAMPLERS, with options in brackets
    spacing *        spacing of the time grid, or its times separated by commas
    steps *          number of sampling steps
    guidance *       guidance weight; 1 for no guidance
    clip *           bound of |x0| while sampling
    seed *           seed of the noise
    n *              number of samples
    extractor *      feature networks, name@fingerprint, separated by commas
    reference *      fingerprints of the data set and of the first feature network
    weights *        fingerprint of the model's weights; for real data, of the held-out examples
    cell             name of the cell: model, sampler, spacing, steps, guidance and clip; also of its
                     pictures; "real" for real data
    teacher          whether the model is the teacher

    fid, fd_NAME     Frechet distance in the features of Inception-v3, or of the feature network NAME
    fid_inf, ...     the same distance, extrapolated to infinitely many samples
    held_out         of real data: split, numbers of examples and of reference examples, and whether
                     these have the same fractions of classes; without a split, Frechet distances are those
                     for n examples and the whole reference
    kid, kd_NAME     kernel distance with the polynomial kernel of KID; kid_se, kd_NAME_se: standard error
    sfid, sfd_NAME   Frechet distance in spatial features
    is, score_NAME   Inception Score; is_se, score_NAME_se: standard error
    energy, swd      energy distance, with energy_se, and sliced Wasserstein distance, of vectors; with _NAME
                     in the features of a network
    precision_NAME, recall_NAME, density_NAME, coverage_NAME, nearest_NAME, diversity_NAME
                     nearest neighbours, see metrics/neighbours.py; without _NAME for vectors
    accuracy_NAME    fraction of samples that the network assigns to the class that they were drawn for
    classes_NAME     list of that fraction by class
    nll              bits per dimension of the data under the model; nll_held_out: of the held-out split
    metrics          keys of METRICS that were measured
    dims             dimension of the features of the first feature network
    broken           indices of the first samples that were not finite; the metrics are then infinite, null
                     in the file

    nfe              network evaluations per sample
    ms_per_image     milliseconds per sample: the time of the whole cell, divided by n
    images_per_s     samples per second
    peak_mb          peak memory while sampling, in MiB
    batch            samples per batch on each process
    flops_per_image  floating-point operations per sample

    method           key of METHODS by which the model was trained
    params           number of the model's parameters
    ema              decay of the weight average
    train_images     training images seen
    train_seconds    training time in seconds
    teacher_nfe      evaluations of the teacher during training
    device           name of the GPU, or CPU and number of threads
    processes        number of processes
    versions         versions by package
    commit           commit of the source tree, with + for uncommitted changes
    plugins          SHA-256 of the files of the loaded plugins, by name; absent without plugins
    time             time of the measurement, ISO 8601 in UTC

Early rows lack some of these keys. speed.jsonl and judge.jsonl are files of the same format with other keys.
"""

import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..core.errors import FastdiffError
from ..core.files import parse_json, strict_json
from .metric_names import is_metric
from .summary import COST_FIELDS, Row, current_rows

FILE_NAMES = ("key", "cell", "a", "b")  # fields that are parts of file names
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
    """The rows of a file to which a sweep appends.

    Args:
        path: path of the file, which need not exist.
        writes: whether to append to the file; processes other than the main one only keep rows in memory.

    Raises:
        FastdiffError: if a line other than the last is damaged.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path = path
        self.writes = writes
        known = read_rows(path)
        self._rows = {row["key"]: row for row in known}
        self._current = {row["key"] for row in current_rows(known)}

    def get(self, key: str) -> Row | None:
        """Return the row of a key; None if it does not exist."""
        return self._rows.get(key)

    def missing(self, key: str, metrics: Collection[str]) -> bool:
        """Return whether a key has no row yet, or its row lacks one of these metrics."""
        row = self._rows.get(key)
        return row is None or not set(metrics) <= set(row.get("metrics", ()))

    def is_current(self, key: str) -> bool:
        """Return whether a report shows the row of a key."""
        return key in self._current

    def update(self, row: Row) -> None:
        """Make a row the current one of its key and cell; append it to the file if it is not yet."""
        key = row["key"]
        if row != self._rows.get(key) or not self.is_current(key):
            if self.writes:
                append_row(self.path, row)
            self._current.add(key)
        self._rows[key] = row


def read_rows(path: str | Path) -> list[Row]:
    """Return all rows of a file, the last one for each key, in the order of their lines.

    A missing file has no rows. A damaged last line, as an interrupted write leaves it, is ignored.

    Raises:
        FastdiffError: if any other line is damaged; the message has its number.
    """
    path = Path(path)
    if not path.exists():
        return []
    rows: dict[str, Row] = {}
    for number, line in enumerate(_whole_lines(path.read_bytes()).splitlines(), start=1):
        row = _parse_row(line)
        if row is None:
            raise FastdiffError(
                f'{path}, line {number}: expected a JSON object with a "key"; repair or delete that line'
            )
        for name, value in row.items():
            if not _is_valid(name, value):
                raise FastdiffError(
                    f"{path}, line {number}: {name} = {value!r:.80} is not valid; repair or delete that line"
                )
        rows.pop(row["key"], None)
        rows[row["key"]] = row
    return list(rows.values())


def append_row(path: str | Path, row: Row) -> None:
    """Append a row and force it to disk; a damaged last line is first moved to `path`.broken."""
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
    """Return whether a field of a row has the right type, and no slash if it is part of a file name."""
    if name in FILE_NAMES and "/" in str(value):
        return False
    kind = KINDS.get(name, int | float if is_metric(name) else object)
    return value is None or isinstance(value, kind)


def _whole_lines(data: bytes) -> bytes:
    """Return the bytes of a file, without its last line if that is incomplete or not a row."""
    start = data.rfind(b"\n", 0, -1) + 1
    last = data[start:]
    return data if last.endswith(b"\n") and _parse_row(last) is not None else data[:start]


def _parse_row(line: bytes) -> Row | None:
    """Parse a line; return None if it is not a row. Metrics of a row with broken samples become inf."""
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
