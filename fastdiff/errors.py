"""The one error that is the user's to mend."""


class FastdiffError(Exception):
    """Bad input: its message is one clear line that names the thing, what was expected and what to do."""
