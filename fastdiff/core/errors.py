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
