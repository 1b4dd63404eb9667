"""The context of a run, made as a run makes it, without its training."""

import io

from accelerate import Accelerator
from rich.console import Console

from fastdiff.runs.context import Run
from fastdiff.runs.recipe import build
from fastdiff.training.signals import Signals


def context(source, folder):
    recipe = build(source)
    console = Console(file=io.StringIO(), width=200)
    return Run(recipe, recipe.dataset(), folder, Accelerator(cpu=True), console, Signals())
