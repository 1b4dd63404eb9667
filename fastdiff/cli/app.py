"""The command line: commands over the library; a user's error is one clear line and exit code 2."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from ..core.errors import FastdiffError, Interrupted
from ..core.former_names import renamed_options
from .bench import bench
from .evaluate import evaluate
from .export import export
from .inspect import doctor, judge, list_, report, status
from .processes import destroy_process_group
from .run import run
from .sample import sample
from .search import search

INTERRUPTED_EXIT_CODE = 130  # the exit code that typer gives to Ctrl-C

# click's UsageError, or that of the copy of click which newer versions of typer bring along.
UsageError = import_module(typer.BadParameter.__module__).UsageError


class Commands(TyperGroup):
    """The commands; misused options end in one line, as all other errors of a user do."""

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
    """Turn the error of a misused command or option into a FastdiffError; `fastdiff` alone prints help."""
    try:
        yield
    except UsageError as error:
        if len(sys.argv) == 1:
            raise
        command = error.ctx.command_path if error.ctx else "fastdiff"
        message = " ".join(error.format_message().split()).rstrip(".")
        raise FastdiffError(f"{message}; see {command} --help") from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Distil diffusion models and sample them in few steps.",
)
for command in (run, status, sample, bench, report, judge, evaluate, search, export, list_, doctor):
    app.command(command.__name__.rstrip("_"))(command)


def main() -> None:
    """Run the command line."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app(renamed_options(sys.argv[1:]), prog_name="fastdiff")
    except FastdiffError as error:
        sys.stderr.write(f"fastdiff: {error}\n")
        sys.exit(2)
    except SystemExit as end:
        if isinstance(end, Interrupted):
            sys.stderr.write(f"fastdiff: {end}\n")
        if end.code == INTERRUPTED_EXIT_CODE:
            sys.stderr.write("fastdiff: interrupted; the same command goes on from the last state\n")
        if not end.code or isinstance(end, Interrupted):
            destroy_process_group()
        raise
