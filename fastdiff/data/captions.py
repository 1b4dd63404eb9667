"""Captions of examples, filled in from the columns of a table."""

import math
from _string import formatter_field_name_split
from collections.abc import Callable, Mapping, Sequence
from string import Formatter
from typing import Any, NamedTuple

from ..core.errors import FastdiffError

Columns = Mapping[str, Callable[[], Sequence[Any]]]
CONVERSIONS: Mapping[str | None, Callable[[Any], Any]] = {
    None: lambda value: value,
    "r": repr,
    "s": str,
    "a": ascii,
}
MISSING = object()  # a value that a row lacks


class Part(NamedTuple):
    """A part of a template: a text, and the field after it."""

    text: str
    column: str | None  # None after the last field
    keys: tuple[str | int, ...]  # of lists and dicts in the column: `text[0]` has (0,)
    form: Callable[[Any], str]


def captions_of(template: str, count: int, columns: Columns) -> tuple[str, ...]:
    """Return a caption for each example, filled in from a template.

    An example that lacks one of the values (null, nan, or an entry that its list does not have) has the empty
    caption, which is also what models are given as "no prompt".

    Args:
        template: text such as "a photo of a {class}"; a column's name in braces stands for its value,
            {text[0]} for the first entry of a list, and {size:.1f} for a formatted number.
        count: number of examples.
        columns: functions that read the columns, by name.

    Raises:
        FastdiffError: for a malformed template, for an unknown column, for values that are not text or
            numbers, and if no example has all values.
    """
    parts = [part_of(template, *piece, columns) for piece in pieces(template)]
    held = {part.column: columns[part.column]() for part in parts if part.column is not None}
    texts = tuple(caption(template, parts, held, row) for row in range(count))
    if held and not any(texts):
        raise FastdiffError(
            f"captions: {template!r}: no example has all of these values; choose from {', '.join(columns)}",
            key="captions",
        )
    return texts


def pieces(template: str) -> list[tuple[str, str | None, str | None, str | None]]:
    """Return (text, field, format, conversion) for each part of a template."""
    try:
        return list(Formatter().parse(template))
    except ValueError as error:
        raise FastdiffError(f"captions: {template!r}: {error}", key="captions") from None


def part_of(
    template: str, text: str, field: str | None, form: str | None, conversion: str | None, columns: Columns
) -> Part:
    """Return a checked part of a template; see `pieces` and `captions_of` for the arguments."""
    if field is None:
        return Part(text, None, (), str)
    if form and "{" in form:
        raise FastdiffError(f"captions: {template!r}: a format cannot have braces itself", key="captions")
    column, keys = field, []
    if field not in columns:
        try:
            first, rest = formatter_field_name_split(field)
            rest = list(rest)
        except ValueError as error:
            raise FastdiffError(f"captions: {template!r}: {error}", key="captions") from None
        column, keys = str(first), [key for attribute, key in rest if not attribute]
        if column not in columns or len(keys) < len(rest):
            raise FastdiffError(
                f"captions: {{{field}}} is unknown, choose from {', '.join(columns) or 'none'}",
                key="captions",
            )
    if conversion not in CONVERSIONS:
        raise FastdiffError(
            f"captions: {template!r}: !{conversion} is unknown, choose from !r, !s, !a", key="captions"
        )
    convert = CONVERSIONS[conversion]
    return Part(text, column, tuple(keys), lambda value: format(convert(value), form or ""))


def caption(template: str, parts: list[Part], held: Mapping[str, Sequence[Any]], row: int) -> str:
    """Return the caption of one example; see `captions_of`.

    Args:
        template: the template, for errors.
        parts: its parts.
        held: the values of the columns, by name.
        row: index of the example.
    """
    texts = []
    for part in parts:
        texts.append(part.text)
        if part.column is None:
            continue
        value = entry(held[part.column][row], part.keys)
        if value is MISSING:
            return ""
        if isinstance(value, list | tuple | dict | bytes):
            remedy = f"{{{part.column}[0]}} takes the first of a list" if isinstance(value, list) else ""
            raise FastdiffError(
                f"captions: {template!r}: row {row} of {part.column!r} holds a {type(value).__name__}: "
                f"expected text or a number; {remedy or 'choose another column'}",
                key="captions",
            )
        try:
            texts.append(part.form(value))
        except (ValueError, TypeError) as error:
            raise FastdiffError(f"captions: {template!r}: row {row}: {error}", key="captions") from None
    return "".join(texts)


def entry(value: Any, keys: Sequence[str | int]) -> Any:
    """Return the entry of nested lists and dicts at some keys; MISSING for none, for null and for nan."""
    for key in keys:
        if not isinstance(value, list | tuple | dict):
            return MISSING
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return MISSING
    return MISSING if value is None or (isinstance(value, float) and math.isnan(value)) else value
