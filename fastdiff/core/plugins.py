"""Plugins: the user's own Python files, which register methods, networks, samplers, schedules or data sets.

Only the option --plugin, the variable FASTDIFF_PLUGINS and `load_plugin` load them: a recipe or a model names
what it needs, and never runs code.
"""

import hashlib
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from .errors import FastdiffError, first_line

VARIABLE = "FASTDIFF_PLUGINS"  # files, separated like those in PATH
_plugins: list[Path] = []
_hashes: dict[Path, str] = {}  # of the plugins, and of the files in their folders that they import


def load_plugin(path: str | Path) -> None:
    """Run a Python file that registers names, such as fastdiff.METHODS["mine"] = Mine; once per file.

    The file can import others from its folder. Processes that this one starts load it as well. The hashes of
    these files are recorded with all models that are trained and rows that are measured from now on.

    Example:
        >>> fastdiff.load_plugin("my_method.py")
        >>> fastdiff.run("my.yaml")

    Args:
        path: the file, NAME.py.

    Raises:
        FastdiffError: if there is no such file, or it raises an exception; the error names file and line.
    """
    place = Path(path).expanduser().resolve()
    if place in _plugins:
        return
    try:
        source = place.read_bytes()
    except OSError as error:
        raise FastdiffError(
            f"plugin {path}: cannot be read ({error.strerror}); expected a Python file"
        ) from None
    folder = str(place.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    before = set(sys.modules)
    _plugins.append(place)  # before it runs, since a plugin that uses fastdiff's public names gets here again
    try:
        run_module(place, source)
    except Exception as error:
        _plugins.remove(place)
        raise FastdiffError(
            f"plugin {path}{line_of(error, place)}: {type(error).__name__}: {first_line(error)}"
        ) from error
    _hashes[place] = hashlib.sha256(source).hexdigest()
    for name in set(sys.modules) - before:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and Path(file).suffix == ".py" and Path(file).is_relative_to(place.parent):
            _hashes[Path(file)] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    os.environ[VARIABLE] = os.pathsep.join(map(str, _plugins))


def run_module(path: Path, source: bytes) -> None:
    """Run a file as a module of its own name with a prefix, so that it hides no other module."""
    module = ModuleType(f"fastdiff_plugin_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses and pickle look for it
    try:
        exec(compile(source, str(path), "exec"), vars(module))
    except BaseException:
        del sys.modules[module.__name__]
        raise


def line_of(error: Exception, path: Path) -> str:
    """Return ", line 3" for the last line of a file that an error passed, or ""."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines = [error.lineno]
    return f", line {lines[-1]}" if lines else ""


def load_environment_plugins() -> None:
    """Load the plugins that the variable FASTDIFF_PLUGINS names; see `load_plugin`."""
    for path in os.environ.get(VARIABLE, "").split(os.pathsep):
        if path:
            load_plugin(path)


def plugin_hashes() -> dict[str, str]:
    """Return the SHA-256 of every file of the loaded plugins, in hex, by the file's name."""
    hashes: dict[str, str] = {}
    for path, value in _hashes.items():
        name = path.name if hashes.get(path.name, value) == value else f"{path.parent.name}/{path.name}"
        hashes[name] = value
    return hashes
