"""Notices of settings of a foreign model that fastdiff replaces by near ones."""

import warnings

from ...core.errors import FastdiffWarning


def notice(text: str) -> None:
    """Warn in one line of a setting that is not supported, and of what takes its place."""
    warnings.warn(text, FastdiffWarning, stacklevel=2)
