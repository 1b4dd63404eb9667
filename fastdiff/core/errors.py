"""Errors that end a command: bad input, and signals."""


class FastdiffError(Exception):
    """An error in the user's input. Its message is one line: the fault, the expected value and the remedy.

    Args:
        message: the line, without a full stop at its end.
        key: the setting at the start of the message, as in `points = 1: expected at least 2`, so that
            `core.validation.call` puts the setting's path in front; None if the message starts otherwise.
    """

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


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


def at_least_one(option: str, value: int | None) -> int | None:
    """Return a count that an option gives, None if not given; raise FastdiffError if it is below 1."""
    if value is not None and value < 1:
        raise FastdiffError(f"{option} = {value}: expected at least 1")
    return value


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if it has none."""
    return (str(error).strip().splitlines() or [""])[0] or type(error).__name__
