"""The command line: verbs over the library; a user's error is one clear line and exit code 2."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from ..core.errors import FastdiffError, Interrupted
from .bench import bench
from .evaluate import evaluate
from .export import export
from .inspect import doctor, judge, list_, report, status
from .run import run
from .sample import sample
from .search import search

UsageError = typer.BadParameter.__base__  # click's, or that of the copy which newer versions of typer keep


class Verbs(TyperGroup):
    """The verbs; what is wrong with the words after one is said like everything else."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with in_one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, context: Any) -> Any:
        with in_one_line():
            return super().invoke(context)


@contextmanager
def in_one_line() -> Iterator[None]:
    """A misused verb or option is the user's to mend, in one line; no words at all ask for help."""
    try:
        yield
    except UsageError as error:
        if len(sys.argv) == 1:
            raise
        where = error.ctx.command_path if error.ctx else "fastdiff"
        raise FastdiffError(
            f"{' '.join(error.format_message().split()).rstrip('.')}; see {where} --help"
        ) from None


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Distil diffusion models and sample them in few steps.",
)
for verb in (run, status, sample, bench, report, judge, evaluate, search, export, list_, doctor):
    app.command(verb.__name__.rstrip("_"))(verb)


def main() -> None:
    """Run the command line."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app(prog_name="fastdiff")
    except FastdiffError as error:
        sys.stderr.write(f"fastdiff: {error}\n")
        sys.exit(2)
    except SystemExit as stop:
        if isinstance(stop, Interrupted):
            sys.stderr.write(f"fastdiff: {stop}\n")
        if stop.code == 130:  # what typer makes of Ctrl-C
            sys.stderr.write("fastdiff: interrupted; the same command goes on from the last state\n")
        if not stop.code or isinstance(stop, Interrupted):
            part()
        raise


def part() -> None:
    """Take leave of the other processes; what still listens to them would now and then abort this one as it ends."""
    distributed = sys.modules.get("torch.distributed")
    if distributed and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
