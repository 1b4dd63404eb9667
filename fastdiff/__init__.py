"""fastdiff: distil diffusion models and sample them in few steps."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

from .core.errors import FastdiffError
from .core.plugins import load_environment_plugins
from .core.public_arguments import Openers as _Openers

if TYPE_CHECKING:  # for editors and type checkers, which do not follow PUBLIC
    from . import networks as networks
    from .core.denoiser import Denoiser as Denoiser
    from .core.guidance import Guided as Guided
    from .core.plugins import load_plugin as load_plugin
    from .core.schedule import SCHEDULES as SCHEDULES
    from .data.image_files import save as save
    from .data.image_files import to_pil as to_pil
    from .data.registry import DATASETS as DATASETS
    from .data.registry import open_dataset as open_dataset
    from .evaluation import report as report
    from .evaluation.config import BenchConfig as BenchConfig
    from .evaluation.sweep import sweep as sweep
    from .io.export.model import export as export
    from .io.load import load as load
    from .methods import METHODS as METHODS
    from .networks.inference import tune as tune
    from .runs import recipe as recipe
    from .runs.run import run as run
    from .samplers import SAMPLERS as SAMPLERS
    from .samplers import time_grid as time_grid
    from .samplers.edit import edit as edit
    from .samplers.generate import sample as sample
    from .samplers.likelihood import nll as nll
    from .samplers.time_search import search_times as search_times

__version__ = "0.1.0"

# Modules of the public names, imported at first use, so that the command line starts quickly.
PUBLIC = {
    "load": "io.load",
    "export": "io.export.model",
    "sample": "samplers.generate",
    "to_pil": "data.image_files",
    "save": "data.image_files",
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

# Core opens models and wraps networks by these functions of the wings above it.
_Openers.model = staticmethod(lambda given: _from("io.load", "opened_model")(given))
_Openers.network = staticmethod(lambda net, shape: _from("networks.bare", "wrapped")(net, shape))


def _from(module: str, name: str) -> Any:
    return getattr(_import_module(f".{module}", __name__), name)


def __getattr__(name: str) -> Any:
    if name in PUBLIC or name in MODULES:
        load_environment_plugins()
    if name in PUBLIC:
        return _from(PUBLIC[name], name)
    if name in MODULES:
        return _import_module(f".{MODULES[name]}", __name__)
    raise AttributeError(f"module 'fastdiff' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
