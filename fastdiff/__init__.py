"""fastdiff: distil diffusion models and sample them in few steps."""

from importlib import import_module
from typing import Any

from .core.errors import FastdiffError
from .core.plugins import load_environment_plugins

__version__ = "0.1.0"

# Modules of the public names, imported at first use, so that the command line starts quickly.
PUBLIC = {
    "load": "io.load",
    "export": "io.export.model",
    "sample": "samplers.generate",
    "time_grid": "samplers",
    "Denoiser": "core.denoiser",
    "Guided": "core.guidance",
    "SAMPLERS": "samplers",
    "METHODS": "methods",
    "SCHEDULES": "core.schedule",
    "DATASETS": "data.registry",
    "open_dataset": "data.registry",
    "edit": "samplers.edit",
    "nll": "samplers.likelihood",
    "search_times": "samplers.time_search",
    "tune": "networks.inference",
    "sweep": "evaluation.sweep",
    "BenchConfig": "evaluation.config",
    "run": "runs.run",
    "load_plugin": "core.plugins",
}
MODULES = {"networks": "networks", "report": "evaluation.report", "recipe": "runs.recipe"}

__all__ = ["FastdiffError", *PUBLIC, *MODULES]


def __getattr__(name: str) -> Any:
    if name in PUBLIC or name in MODULES:
        load_environment_plugins()
    if name in PUBLIC:
        return getattr(import_module(f".{PUBLIC[name]}", __name__), name)
    if name in MODULES:
        return import_module(f".{MODULES[name]}", __name__)
    raise AttributeError(f"module 'fastdiff' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *PUBLIC, *MODULES])
