"""Options that several commands share, and parsers of the text that they take."""

import math
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.errors import FastdiffError
from ..core.files import expanded

Model = Annotated[str, typer.Argument(help="A run's stage, a diffusers folder, or a hub id.")]
RunFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a run or a benchmark.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Batch = Annotated[int, typer.Option(help="Number of samples per batch.")]
Data = Annotated[str, typer.Option(help="Data set: a name of `fastdiff list data`, or a path.")]
Resolution = Annotated[int | None, typer.Option(help="Side in pixels to which the images are resized.")]
Colour = Annotated[str | None, typer.Option(help="Colour of image files: rgb or grey.", show_default="rgb")]
Captions = Annotated[
    str | None,
    typer.Option(help="Template of the prompts: 'a {class}', or '{column}'."),
]
Extractors = Annotated[
    str | None,
    typer.Option(
        "--extractor",
        help="Feature networks or folders, separated by commas.",
        show_default="chosen by the data",
    ),
]
Metrics = Annotated[
    str,
    typer.Option(
        "--metrics",
        help="Metrics of `fastdiff list metrics`, with commas.",
        show_default="chosen by the data",
    ),
]

LARGEST_INTEGER = 2**63  # first value that 64 signed bits cannot hold


def checked_seed(seed: int) -> int:
    """Return the value of --seed; raise FastdiffError if it is not one that torch takes."""
    if not -LARGEST_INTEGER <= seed < LARGEST_INTEGER:
        raise FastdiffError(f"--seed {seed}: expected a whole number of 64 bits; choose a smaller one")
    return seed


def names_of(models: list[str]) -> dict[str, str]:
    """Name models by the shortest ends of their paths that differ; a model given twice counts once."""
    models_of = {expanded(model).resolve().parts[1:]: model for model in models}
    paths = {model: parts for parts, model in models_of.items()}
    for depth in range(1, 1 + max(map(len, paths.values()))):
        names = {"-".join(parts[-depth:]): model for model, parts in paths.items()}
        if len(names) == len(paths):
            break
    return names


def guidance_options(text: str | None) -> dict[str, Any]:
    """Parse the text of --guide, such as clip=1,interval=0.2:5, into checked fields of GuidanceOptions."""
    from ..core.guidance import GuidanceOptions
    from ..core.validation import check, spelled

    if not text:
        return {}
    if not all("=" in part for part in text.split(",")):
        raise FastdiffError(f"--guide {text}: expected setting=value, separated by commas")
    _, given = spelled(f"guide[{text}]", "--guide")
    lists = {key: value.split(":") if ":" in value else value for key, value in given.items()}
    checked = check({"guide": GuidanceOptions}, "guide", lists, "--guide", skip=("against",))
    return {key: checked[key] for key in given}


def integers(option: str, text: str) -> tuple[int, ...]:
    """Parse whole numbers separated by commas.

    Args:
        option: name of the option, for the error.
        text: its value.
    """
    try:
        values = tuple(int(word) for word in text.split(","))
    except ValueError:
        values = ()
    if not values or any(abs(number) >= LARGEST_INTEGER for number in values):
        raise FastdiffError(f"{option} {text}: expected whole numbers separated by commas")
    return values


def numbers(option: str, text: str) -> tuple[float, ...]:
    """Parse numbers separated by commas.

    Args:
        option: name of the option, for the error.
        text: its value.
    """
    try:
        values = tuple(float(word) for word in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(map(math.isfinite, values)):
        raise FastdiffError(f"{option} {text}: expected numbers separated by commas")
    return values


def words(text: str) -> tuple[str, ...]:
    """Split text at its commas, except commas in brackets, which separate the options of one word."""
    return tuple(re.split(r",(?![^\[]*\])", text)) if text else ()


def given(**options: Any) -> dict[str, Any]:
    """Return only the options that were set on the command line (those that are not None)."""
    return {name: value for name, value in options.items() if value is not None}
