"""The verbs of the command line, by what they are about."""

from .app import main

__all__ = ["main"]
