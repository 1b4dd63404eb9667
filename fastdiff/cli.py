"""The command line: verbs over the library; a user's error is one clear line and exit code 2."""

import json
import logging
import os
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .errors import FastdiffError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Distil diffusion models and sample them in few steps.")

Model = Annotated[str, typer.Argument(help="A stage of a run, a diffusers folder, or a hub id.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


class Target(StrEnum):
    """Formats of `export`."""

    diffusers = "diffusers"


class Listed(StrEnum):
    """What `list` lists."""

    samplers = "samplers"
    methods = "methods"
    schedules = "schedules"
    datasets = "datasets"
    recipes = "recipes"
    models = "models"


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe file.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")] = None,
    only: Annotated[str | None, typer.Option(help="Train this stage alone.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's directory instead of checkpoints/<name>.")] = None,
) -> None:
    """Train all stages of a recipe, benchmark them and write the report; the same command again resumes."""
    from . import recipe as recipes
    from .stages import run as run_recipe

    run_recipe(recipes.load(recipe, overrides or []), out, only)


@app.command()
def sample(
    model: Model,
    sampler: Annotated[str | None, typer.Option(help="Instead of the one recorded with the model.")] = None,
    steps: Annotated[int | None, typer.Option(help="Instead of the first step count it was trained for.")] = None,
    n: Annotated[int, typer.Option(help="How many samples.")] = 64,
    seed: int = 0,
    spacing: Annotated[str | None, typer.Option(help="The time grid.")] = None,
    labels: Annotated[str | None, typer.Option(help="One class, or n of them separated by commas.")] = None,
    guidance: Annotated[float, typer.Option(help="1 is none.")] = 1.0,
    batch: int = 512,
    out: Annotated[Path, typer.Option(help="A .png for one sheet, else a folder of single images.")] = Path("samples.png"),
) -> None:
    """Draw samples from a model."""
    classes = integers("--labels", labels) if labels is not None else None
    if classes is not None and len(classes) not in (1, n):
        raise FastdiffError(f"--labels: {len(classes)} of them for n = {n}; give one, or one for each sample")
    if batch < 1:
        raise FastdiffError(f"--batch {batch}: expected at least 1")
    import torch

    from .checkpoint import load
    from .generate import sample as draw
    from .pictures import picture, save

    device = "cuda" if torch.cuda.is_available() else "cpu"
    marks = torch.tensor(classes) if classes else None
    x = draw(load(model, device), sampler, steps, n, seed, spacing, marks, guidance, batch)
    try:
        if out.suffix.lower() == ".png":
            side = max(1, round(n**0.5))
            save(picture(x, columns=side, zoom=max(1, 256 // (side * x.shape[-1]))), out)
        else:
            for i, image in enumerate(x):
                save(picture(image[None], columns=1), out / f"{i:06d}.png")
    except OSError as error:
        raise FastdiffError(f"--out {out}: cannot be written ({error.strerror})") from None
    typer.echo(f"{n} samples in {out}")


@app.command()
def bench(
    models: Annotated[list[str], typer.Argument(help="Models; the first is the teacher that --against is drawn with.")],
    steps: Annotated[str, typer.Option(help="Step counts, separated by commas.")] = "1,2,4,8",
    against: Annotated[str, typer.Option(help="The teacher's baselines, sampler:steps.")] = "ddpm:1000,ddim:50",
    n: Annotated[int, typer.Option(help="Samples a cell and seed.")] = 2000,
    seeds: Annotated[str, typer.Option(help="Separated by commas.")] = "0",
    data: Annotated[str, typer.Option(help="A data set's name or path.")] = "digits",
    resolution: Annotated[int | None, typer.Option(help="Resize and crop the data's images.")] = None,
    extractor: Annotated[str | None, typer.Option(help="inception, inception:/path, or a feature network's folder.")] = None,
    batch: int = 512,
    out: Annotated[Path, typer.Option(help="Where bench.jsonl and the report go.")] = Path("checkpoints/bench"),
    as_json: Json = False,
) -> None:
    """Measure quality, cost and time of models against the teacher's baselines."""
    counts, draws = integers("--steps", steps), integers("--seeds", seeds)
    from rich.console import Console

    from . import report as reports
    from .bench import BenchConfig, sweep
    from .data import open_dataset

    config = BenchConfig(steps=counts, baselines=tuple(against.split(",")) if against else (), n=n, seeds=draws, batch=batch,
                         extractor=extractor)
    names = names_of(models)
    dataset = open_dataset(data, **({} if resolution is None else {"resolution": resolution}))
    console = Console(stderr=True)
    rows = []
    with console.status("measuring"):
        for row in sweep(names, dataset, config, out, teacher=next(iter(names))):
            rows.append(row)
            if not as_json:
                console.print(f"{row['cell']}  seed {row['seed']}  {row[reports.metric_of([row])]:.4g}")
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
    elif int(os.environ.get("RANK", 0)) == 0:
        reports.write(out)
        Console().print(reports.table(rows))


@app.command()
def report(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's directory.")], as_json: Json = False) -> None:
    """Write report.md, report.html and the plots again, from the rows alone."""
    from rich.console import Console

    from . import report as reports
    from .rows import read_rows

    try:
        written = reports.write(folder)
    except OSError as error:
        raise FastdiffError(f"{folder}: the report cannot be written ({error.strerror})") from None
    rows = read_rows(folder / "bench.jsonl")
    if as_json:
        typer.echo(json.dumps(reports.summary(rows)))
    else:
        Console().print(reports.table(rows))
        typer.echo("\n".join(map(str, written)))


@app.command()
def export(
    model: Model,
    out: Annotated[Path, typer.Option(help="A new folder.")],
    to: Annotated[Target, typer.Option(help="The format.")] = Target.diffusers,
) -> None:
    """Write a model as a plain diffusers folder."""
    if out.exists():
        raise FastdiffError(f"--out {out} exists: name a new folder")
    from .checkpoint import about, load
    from .checkpoint import export as write

    source, notes = load(model), about(Path(model).expanduser()) or {}
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise FastdiffError(f"--out {out}: cannot be written ({error.strerror})") from None
    write(source, out, {k: v for k, v in notes.items() if k in ("method", "origin", "ema", "cost")})
    typer.echo(f"{model} as {to.value} in {out}")


@app.command("list")
def list_(what: Listed, as_json: Json = False) -> None:
    """What there is, a line each."""
    lines = LISTS[what]()
    if as_json:
        typer.echo(json.dumps(lines))
    else:
        width = max((len(name) for name in lines), default=0)
        typer.echo("\n".join(f"{name:{width}}  {about}".rstrip() for name, about in lines.items()))


def registry(module: str, name: str) -> dict[str, str]:
    """What a registry holds, each with the first line of its documentation."""
    from importlib import import_module

    entries = getattr(import_module(f".{module}", __package__), name)
    return {key: (value.__doc__ or "").strip().split("\n")[0] for key, value in entries.items()}


def recipes() -> dict[str, str]:
    """The recipes below this directory, each with its first comment."""
    return {str(p): p.read_text().split("\n")[0].lstrip("# ") for p in sorted(Path("recipes").glob("*.yaml"))}


def models() -> dict[str, str]:
    """The finished stages below this directory, each with its method."""
    found = {}
    for path in sorted(Path("checkpoints").glob("*/*/fastdiff.json")):
        try:
            found[str(path.parent)] = str(json.loads(path.read_text()).get("method"))
        except ValueError:
            found[str(path.parent)] = "damaged"
    return found


LISTS = {
    Listed.samplers: lambda: registry("samplers", "SAMPLERS"), Listed.methods: lambda: registry("methods", "METHODS"),
    Listed.schedules: lambda: registry("schedule", "SCHEDULES"), Listed.datasets: lambda: registry("data", "DATASETS"),
    Listed.recipes: recipes, Listed.models: models,
}


def names_of(models: list[str]) -> dict[str, str]:
    """Models by the shortest ends of their paths that tell them apart."""
    paths = {model: Path(model).expanduser().resolve().parts for model in models}
    for depth in range(1, 1 + max(map(len, paths.values()))):
        names = {"-".join(parts[-depth:]): model for model, parts in paths.items()}
        if len(names) == len(paths):
            break
    return names


def integers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers separated by commas."""
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise FastdiffError(f"{option} {text}: expected whole numbers separated by commas") from None


def main() -> None:
    """Run the command line."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app()
    except FastdiffError as error:
        sys.stderr.write(f"fastdiff: {error}\n")
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == 130:                                             # what typer makes of Ctrl-C
            sys.stderr.write("fastdiff: interrupted; the same command goes on from the last state\n")
        raise
