"""What the command line writes as text: counts, models' names, settings of guidance."""

import math
import re
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import FastdiffError

Extractors = Annotated[
    str | None,
    typer.Option(
        "--extractor",
        help="inception, vgg16, clip-..., dinov2-... (name:/path gives its weights), or the folder of a feature "
        "network; several separated by commas.",
    ),
]
Resolution = Annotated[int | None, typer.Option(help="Resize and crop the data's images.")]
Colour = Annotated[str | None, typer.Option(help="rgb or grey, of images in files.")]
Metrics = Annotated[
    str,
    typer.Option(
        "--metrics",
        help="fd, kd, pr, score, sfd, accuracy, energy, swd, nll; separated by commas, else the usual ones.",
    ),
]

Model = Annotated[str, typer.Argument(help="A stage of a run, a diffusers folder, or a hub id.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def names_of(models: list[str]) -> dict[str, str]:
    """Models by the shortest ends of their paths that tell them apart."""
    found = {
        Path(model).expanduser().resolve().parts[1:]: model for model in models
    }  # one given twice is one
    paths = {model: parts for parts, model in found.items()}
    for depth in range(1, 1 + max(map(len, paths.values()))):
        names = {"-".join(parts[-depth:]): model for model, parts in paths.items()}
        if len(names) == len(paths):
            break
    return names


def bounds(text: str | None) -> dict[str, object]:
    """Settings of Guided, written clip=1,interval=0.2:5."""
    from ..core.guidance import Guided
    from ..core.validation import check, spelled

    if text and not all("=" in part for part in text.split(",")):
        raise FastdiffError(f"--guide {text}: expected setting=value, separated by commas")
    _, given = spelled(f"guide[{text}]", "--guide") if text else ("", {})
    lists = {key: value.split(":") if ":" in value else value for key, value in given.items()}
    checked = check(
        {"guide": Guided}, "guide", lists, "--guide", skip=("model", "cond", "null", "guidance", "against")
    )
    return {key: checked[key] for key in given}


def integers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers separated by commas."""
    try:
        found = tuple(int(word) for word in text.split(","))
        if all(abs(number) < 2**63 for number in found):
            return found
        raise ValueError
    except ValueError:
        raise FastdiffError(f"{option} {text}: expected whole numbers separated by commas") from None


def numbers(option: str, text: str) -> tuple[float, ...]:
    """Numbers separated by commas."""
    try:
        found = tuple(float(word) for word in text.split(","))
        if all(map(math.isfinite, found)):
            return found
        raise ValueError
    except ValueError:
        raise FastdiffError(f"{option} {text}: expected numbers separated by commas") from None


def words(text: str) -> tuple[str, ...]:
    """Words separated by commas, except those in brackets, which separate a word's options."""
    return tuple(re.split(r",(?![^\[]*\])", text)) if text else ()


def given(**options: object) -> dict[str, object]:
    """The options that were named."""
    return {name: value for name, value in options.items() if value is not None}
