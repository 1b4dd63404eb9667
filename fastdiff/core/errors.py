"""Errors that end a command: bad input, and signals."""

import math
from numbers import Integral
from typing import Any


class FastdiffError(Exception):
    """An error in the user's input. Its message is one line: the fault, the expected value and the remedy.

    Args:
        message: the line, without a full stop at its end. Line ends and control characters in it, as of a
            file's name, are shown as in a Python string.
        key: the setting at the start of the message, as in `points = 1: expected at least 2`, so that
            `core.validation.call` puts the setting's path in front; None if the message starts otherwise.
    """

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(printable(message))
        self.key = key


class NotRegistered(FastdiffError):
    """The error for a name in a model's files that is in no registry, because its plugin is not loaded.

    Args:
        kind: kind of the name, such as schedule.
        name: the name.
    """

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"needs {kind} {name}, which no plugin has registered; pass --plugin FILE")


class FastdiffWarning(UserWarning):
    """A warning in one line: a setting that is not supported, and what takes its place.

    Commands print it on standard error, as `fastdiff: warning: ...`, and go on.
    """


class Interrupted(SystemExit):
    """The end of the program by a signal; running the same command again resumes the work.

    The exit code is 75, "try again" in sysexits.h.
    """

    def __init__(self, message: str) -> None:
        super().__init__(75)
        self.message = message

    def __str__(self) -> str:
        return self.message


def printable(text: str) -> str:
    """Return a text in which characters that cannot be printed are written as in a Python string."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def at_least_one(option: str, value: int | None) -> int | None:
    """Return a count that an option gives, None if not given; raise FastdiffError if it is below 1."""
    if value is None:
        return None
    return checked_integer(option, value, 1, math.inf)


def checked_integer(option: str, value: Any, least: float, most: float) -> int:
    """Return a whole number that an option gives.

    Args:
        option: name of the option.
        value: its value; true and 2.0 are no whole numbers.
        least: smallest number that it may be.
        most: largest number that it may be; inf for no bound.

    Raises:
        FastdiffError: for another value; its key is the option.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise FastdiffError(f"{option} = {value!r:.80}: expected a whole number", key=option)
    if not least <= value <= most:
        bound = f", and at most {most}" if most < math.inf else ""
        raise FastdiffError(f"{option} = {value}: expected at least {least}{bound}", key=option)
    return int(value)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if it has none."""
    return (str(error).strip().splitlines() or [""])[0] or type(error).__name__
