"""Options that several commands share, and the values that they take as text."""

import math
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.errors import FastdiffError

Model = Annotated[str, typer.Argument(help="A stage of a run, a diffusers folder, or a hub id.")]
RunFolder = Annotated[Path, typer.Argument(metavar="DIR", help="A run's directory.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Batch = Annotated[int, typer.Option(help="Samples at once.")]
Data = Annotated[str, typer.Option(help="A data set's name or path.")]
Resolution = Annotated[int | None, typer.Option(help="Resize and crop the data's images.")]
Colour = Annotated[str | None, typer.Option(help="rgb or grey, of images in files.")]
Captions = Annotated[
    str | None, typer.Option(help="Prompts of the data: 'a photo of a {class}' or '{column}'.")
]
Extractors = Annotated[
    str | None,
    typer.Option(
        "--extractor",
        help="inception, vgg16, clip-..., dinov2-... (name:/path gives its weights), or the folder of a "
        "feature network; several separated by commas.",
    ),
]
Metrics = Annotated[
    str,
    typer.Option(
        "--metrics",
        help="fd, kd, pr, score, sfd, accuracy, energy, swd, nll; separated by commas, else the usual ones.",
    ),
]

LARGEST_INTEGER = 2**63  # of 64 bits


def names_of(models: list[str]) -> dict[str, str]:
    """Return models by name: the shortest ends of their paths that differ; a model given twice is one."""
    models_of = {Path(model).expanduser().resolve().parts[1:]: model for model in models}
    paths = {model: parts for parts, model in models_of.items()}
    for depth in range(1, 1 + max(map(len, paths.values()))):
        names = {"-".join(parts[-depth:]): model for model, parts in paths.items()}
        if len(names) == len(paths):
            break
    return names


def guidance_options(text: str | None) -> dict[str, Any]:
    """Parse settings of GuidanceOptions, such as clip=1,interval=0.2:5, and check them."""
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
    """Parse whole numbers separated by commas; option: its name, for the error."""
    try:
        found = tuple(int(word) for word in text.split(","))
    except ValueError:
        found = ()
    if not found or any(abs(number) >= LARGEST_INTEGER for number in found):
        raise FastdiffError(f"{option} {text}: expected whole numbers separated by commas")
    return found


def numbers(option: str, text: str) -> tuple[float, ...]:
    """Parse numbers separated by commas; option: its name, for the error."""
    try:
        found = tuple(float(word) for word in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(map(math.isfinite, found)):
        raise FastdiffError(f"{option} {text}: expected numbers separated by commas")
    return found


def words(text: str) -> tuple[str, ...]:
    """Split words at commas, except at those in brackets, which separate the options of one word."""
    return tuple(re.split(r",(?![^\[]*\])", text)) if text else ()


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were named on the command line."""
    return {name: value for name, value in options.items() if value is not None}
