"""How a command ends before its time: by the user's mistake, or by a signal."""


class FastdiffError(Exception):
    """Bad input: its message is one clear line that names the thing, what was expected and what to do."""


class Interrupted(SystemExit):
    """A signal ended the work, and the same command goes on: exit code 75, "try again" in sysexits.h."""

    def __init__(self, message: str):
        super().__init__(75)
        self.message = message

    def __str__(self) -> str:
        return self.message


def at_least_one(option: str, value: int | None) -> int | None:
    """The value of an option that counts something, where it is given at least 1."""
    if value is not None and value < 1:
        raise FastdiffError(f"{option} must be at least 1, not {value}")
    return value


def first_line(error: BaseException) -> str:
    """What an error says first, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [""])[0] or type(error).__name__
