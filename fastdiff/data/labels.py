"""Labels in tables: the column that holds them, their values, and the names of the classes."""

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ..core.errors import FastdiffError

if TYPE_CHECKING:
    import datasets

LabelColumn = str | Literal[False] | None
USUAL_COLUMNS = ("label", "cls", "json.label")
UNLABELLED = "`label_column: false` reads the images without labels"
# A table with more classes than both this and ten times its rows has ids, not classes, in its labels.
MANY_CLASSES = 10_000


def find_label_column(name: str, kinds: dict[str, Any], chosen: LabelColumn) -> str | None:
    """Return the column of a table's labels, or None if it has none.

    Args:
        name: name of the data, for errors.
        kinds: the table's features by column.
        chosen: the column; False for none; None to find it: the only column of type ClassLabel, or a column
            called label, cls or json.label that holds integers, strings or true and false.

    Raises:
        FastdiffError: if the chosen column is missing.
    """
    import datasets

    if chosen is not None:
        if chosen and chosen not in kinds:
            raise FastdiffError(
                f"data set {name!r}: no column {chosen!r}; set `label_column` to one of {', '.join(kinds)}, "
                "or to false"
            )
        return chosen or None
    typed = [key for key, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)]
    if len(typed) == 1:
        return typed[0]
    usual = (key for key in USUAL_COLUMNS if key in kinds and may_hold_classes(kinds[key]))
    return next(usual, None)


def may_hold_classes(kind: Any) -> bool:
    """Return whether a column of this type may hold classes: integers, strings, or true and false."""
    return hasattr(kind, "num_classes") or is_integer(kind) or is_text(kind) or is_bool(kind)


def is_integer(kind: Any) -> bool:
    """Return whether a column of this type holds integers."""
    return str(getattr(kind, "dtype", "")).lstrip("u").startswith("int")


def is_text(kind: Any) -> bool:
    """Return whether a column of this type holds strings."""
    return getattr(kind, "dtype", "") in ("string", "large_string")


def is_bool(kind: Any) -> bool:
    """Return whether a column of this type holds true and false."""
    return getattr(kind, "dtype", "") == "bool"


def read_labels(
    name: str, rows: "datasets.Dataset", column: str, count: int
) -> tuple[Tensor | None, tuple[str, ...]]:
    """Read the labels of a table's first rows, and the names of the classes of all of its rows.

    Args:
        name: name of the data, for errors.
        rows: the table.
        column: the column of labels.
        count: number of rows to read, N.

    Returns:
        Labels (N,), int64, and the names of the classes, where an integer is its own name. (None, ()) if all
        labels are negative, as data sets on the hub mark unlabelled rows.

    Raises:
        FastdiffError: for a row without a label, and for values that are not classes.
    """
    import datasets

    what = f"data set {name!r}: column {column!r}"
    values = rows[column][:]
    kind = rows.features[column]
    if not may_hold_classes(kind):
        raise FastdiffError(f"{what}: labels must be integers or strings; {UNLABELLED}")
    present = {value for value in values if value is not None}
    if is_text(kind) or is_bool(kind):
        names = sorted(present)
        places = {value: place for place, value in enumerate(names)}
        values = [None if value is None else places[value] for value in values]
    elif present and max(present) < 0 and None not in values:
        return None, ()
    else:
        number = max(present, default=-1) + 1
        if number > max(MANY_CLASSES, 10 * len(rows)):
            raise FastdiffError(
                f"{what} has labels up to {number - 1:,} in {len(rows):,} rows: expected classes, numbered "
                f"from 0; {UNLABELLED}"
            )
        names = kind.names if isinstance(kind, datasets.ClassLabel) else range(number)
    for row, value in enumerate(values[:count]):
        if value is None or not 0 <= value < len(names):
            found = "" if value is None else f" ({value})"
            raise FastdiffError(f"{what} has rows without a label: row {row}{found}; {UNLABELLED}")
    return torch.tensor(values[:count]), tuple(map(str, names))
