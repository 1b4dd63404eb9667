"""The context of a run, which all of its stages share."""

from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from rich.console import Console

from ..data.registry import Readable
from ..training.signals import Signals
from .recipe import Recipe


@dataclass(frozen=True)
class Run:
    """The recipe, data, directory and processes of a run."""

    recipe: Recipe
    dataset: Readable
    folder: Path
    accelerator: Accelerator
    console: Console
    signals: Signals
