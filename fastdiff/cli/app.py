"""The command-line program: it collects the commands, and prints a user's error as one line (exit code 2)."""

import inspect
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from .. import __version__
from ..core.errors import FastdiffError, FastdiffWarning, Interrupted
from ..core.former_names import renamed_options
from ..core.memory import enough_memory
from ..core.plugins import load_environment_plugins, load_plugin
from .bench import bench
from .evaluate import evaluate
from .examples import epilog
from .export import export
from .features import features
from .init import init
from .inspect import doctor, judge, report, status
from .listing import list_
from .processes import destroy_process_group
from .run import run
from .sample import sample
from .search import search

INTERRUPTED_EXIT_CODE = 130  # as typer sets it for Ctrl-C

# click's UsageError, or that of the copy of click that newer versions of typer include.
UsageError = import_module(typer.BadParameter.__module__).UsageError


Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="FILE", help="Python file with own methods, networks, ... Repeatable."),
]


class Commands(TyperGroup):
    """The group of all commands; a misused option is reported in one line, like any other user error."""

    @override
    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with in_one_line():
            return super().make_context(*args, **kwargs)

    @override
    def invoke(self, context: Any) -> Any:
        with in_one_line():
            return super().invoke(context)


@contextmanager
def in_one_line() -> Iterator[None]:
    """Turn click's error of a misused command or option into a FastdiffError.

    `fastdiff` without arguments still prints its help.
    """
    try:
        yield
    except UsageError as error:
        if len(sys.argv) == 1:
            raise
        command = error.ctx.command_path if error.ctx else "fastdiff"
        message = " ".join(error.format_message().split()).rstrip(".")
        raise FastdiffError(f"{message}; see {command} --help") from None


def load_plugins(paths: Iterable[str]) -> None:
    """Load the plugins that FASTDIFF_PLUGINS names, and those of the command line."""
    load_environment_plugins()
    for path in paths:
        load_plugin(path)


def with_plugins(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that also takes --plugin, which works before and after the command's name."""

    @wraps(command)
    def wrapper(*, plugin: list[str] | None, **options: Any) -> None:
        load_plugins(plugin or ())
        command(**options)

    signature = inspect.signature(command)
    own = inspect.Parameter("plugin", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Plugins)
    wrapper.__signature__ = signature.replace(parameters=[*signature.parameters.values(), own])
    wrapper.__annotations__ = command.__annotations__ | {"plugin": Plugins}
    return wrapper


app = typer.Typer(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    init,
    run,
    status,
    sample,
    bench,
    report,
    judge,
    evaluate,
    features,
    search,
    export,
    list_,
    doctor,
):
    verb = command.__name__.rstrip("_")
    app.command(verb, epilog=epilog(verb))(with_plugins(command))


def show_version(wanted: bool) -> None:
    """Print the version and end the program, if the option is given."""
    if wanted:
        typer.echo(f"fastdiff {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Distil diffusion models and sample them in few steps."""
    load_plugins(plugin or ())


def show_warning(message: Warning | str, *_: Any) -> None:
    """Print a warning in one line on standard error."""
    sys.stderr.write(f"fastdiff: warning: {message}\n")


def check_working_directory() -> None:
    """Raise FastdiffError if the working directory has been deleted, where libraries cannot be imported."""
    try:
        os.getcwd()
    except OSError as error:
        raise FastdiffError(
            f"the working directory cannot be read ({error.strerror}); change to another one"
        ) from None


def main() -> None:
    """Run the command that `sys.argv` names; exit with code 2 after a user's error."""
    for stream in (sys.stdout, sys.stderr):  # what a terminal's encoding lacks is shown as ?
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("default", category=FastdiffWarning)
    warnings.showwarning = show_warning
    logging.disable(logging.WARNING)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        check_working_directory()
        with enough_memory("use smaller batches, a smaller model or another machine"):
            app(renamed_options(sys.argv[1:]), prog_name="fastdiff")
    except FastdiffError as error:
        sys.stderr.write(f"fastdiff: {error}\n")
        sys.exit(2)
    except SystemExit as end:
        if isinstance(end, Interrupted):
            sys.stderr.write(f"fastdiff: {end}\n")
        if end.code == INTERRUPTED_EXIT_CODE:
            sys.stderr.write("fastdiff: interrupted; run the same command again to resume\n")
        if not end.code or isinstance(end, Interrupted):
            destroy_process_group()
        raise
