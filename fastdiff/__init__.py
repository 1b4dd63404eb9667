"""fastdiff: distil diffusion models and sample them in few steps."""

from importlib import import_module
from typing import Any

from .errors import FastdiffError

__version__ = "0.1.0"

# Public name -> the module that has it; imported at first use, so that the command line answers at once.
PUBLIC = {
    "load": "checkpoint", "export": "checkpoint", "sample": "generate", "time_grid": "samplers",
    "Denoiser": "denoiser", "Guided": "guidance", "SAMPLERS": "samplers", "METHODS": "methods", "SCHEDULES": "schedule",
    "DATASETS": "data", "edit": "editing", "nll": "likelihood", "search_times": "search", "tune": "tuning",
    "sweep": "bench", "BenchConfig": "bench", "open_dataset": "data", "run": "stages",
}
MODULES = {"networks", "report", "recipe"}

__all__ = ["FastdiffError", *PUBLIC, *MODULES]


def __getattr__(name: str) -> Any:
    if name in PUBLIC:
        return getattr(import_module(f".{PUBLIC[name]}", __name__), name)
    if name in MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module 'fastdiff' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *PUBLIC, *MODULES])
