"""Errors that end a command: bad input, and signals."""


class FastdiffError(Exception):
    """Bad input. The message is one clear line: what is wrong, what was expected and what to do.

    Args:
        message: the line, without a full stop at its end.
        key: the setting that the message begins with, as in `points = 1: expected at least 2`, if it
            begins with one; `core.validation.call` then puts the setting's path before it.
    """

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class Interrupted(SystemExit):
    """End of the program by a signal; running the same command again resumes the work.

    The exit code is 75, "try again" in sysexits.h.
    """

    def __init__(self, message: str) -> None:
        super().__init__(75)
        self.message = message

    def __str__(self) -> str:
        return self.message


def at_least_one(option: str, value: int | None) -> int | None:
    """Return the value of an option that counts something; raise FastdiffError if it is below 1."""
    if value is not None and value < 1:
        raise FastdiffError(f"{option} must be at least 1, not {value}")
    return value


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if it has none."""
    return (str(error).strip().splitlines() or [""])[0] or type(error).__name__
