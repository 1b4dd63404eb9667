"""Folders that tests read from."""

from pathlib import Path

import fastdiff as package

ROOT = Path(__file__).parents[2]


HOUSE = Path(package.__file__).parent
