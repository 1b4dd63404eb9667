"""The command line: verbs over the library; a user's error is one clear line and exit code 2."""

import json
import logging
import os
import re
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .arguments import bounds, integers, names_of
from .errors import FastdiffError
from .listing import LISTS, Listed

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Distil diffusion models and sample them in few steps.")

Model = Annotated[str, typer.Argument(help="A stage of a run, a diffusers folder, or a hub id.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


class Target(StrEnum):
    """Formats of `export`."""

    diffusers = "diffusers"


class Precision(StrEnum):
    """Arithmetic of a network."""

    no = "no"
    bf16 = "bf16"
    fp16 = "fp16"


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
    sampler: Annotated[str | None, typer.Option(help="Instead of the one recorded with the model; ddim[eta=0.5] "
                                                     "sets an option.")] = None,
    steps: Annotated[int | None, typer.Option(help="Instead of the first step count it was trained for.")] = None,
    n: Annotated[int, typer.Option(help="How many samples.")] = 64,
    seed: int = 0,
    spacing: Annotated[str | None, typer.Option(help="The time grid, karras[rho=5] with an option, or the times.")] = None,
    labels: Annotated[str | None, typer.Option(help="One class, or n of them separated by commas.")] = None,
    guidance: Annotated[float, typer.Option(help="1 is none.")] = 1.0,
    guide: Annotated[str | None, typer.Option(help="More of it: clip=1, threshold=0.995, rescale=0.7, plus=true, "
                                                   "every=2, interval=0.2:5; separated by commas.")] = None,
    image: Annotated[Path | None, typer.Option(help="An image or a folder to start from.")] = None,
    strength: Annotated[float, typer.Option(help="How much of --image is noised away, 0 to 1.")] = 1.0,
    mask: Annotated[Path | None, typer.Option(help="White where --image is known; the rest is drawn.")] = None,
    resamplings: Annotated[int, typer.Option(help="Of RePaint, where --mask is given; 0 for none.")] = 0,
    preview: Annotated[int, typer.Option(help="Write the clean prediction at every so many states, 0 for none.")] = 0,
    precision: Annotated[Precision, typer.Option(help="Of the network's arithmetic.")] = Precision.no,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="Memory layout for convolutions.")] = False,
    compile: Annotated[bool, typer.Option("--compile", help="torch.compile the network.")] = False,
    batch: int = 512,
    out: Annotated[Path, typer.Option(help="A .png for one sheet, else a folder of single images.")] = Path("samples.png"),
) -> None:
    """Draw samples from a model."""
    classes = integers("--labels", labels) if labels is not None else None
    if classes is not None and len(classes) not in (1, n):
        raise FastdiffError(f"--labels: {len(classes)} of them for n = {n}; give one, or one for each sample")
    for what, value, least in (("--n", n, 1), ("--batch", batch, 1), ("--preview", preview, 0)):
        if value < least:
            raise FastdiffError(f"{what} {value}: expected at least {least}")
    import torch

    from .checkpoint import load
    from .editing import edit
    from .generate import sample as draw
    from .images import read_images
    from .pictures import picture, save
    from .tuning import tune

    def write(x: torch.Tensor, path: Path) -> None:
        try:
            if path.suffix.lower() == ".png":
                side = max(1, round(len(x) ** 0.5))
                save(picture(x, columns=side, zoom=max(1, 256 // (side * x.shape[-1]))), path)
            else:
                for i, one in enumerate(x):
                    save(picture(one[None], columns=1), path / f"{i:06d}.png")
        except OSError as error:
            raise FastdiffError(f"--out {out}: cannot be written ({error.strerror})") from None

    states: list[int] = []

    def watch(part: torch.Tensor, state: object) -> None:
        if int(part[0]) == 0:                                            # the first batch stands for all
            states.append(len(states) + 1)
            if states[-1] % preview == 0:
                write(state.x0, out.with_name(f"{out.stem}-state-{states[-1]:04d}.png"))

    if image is None and (mask is not None or strength != 1 or resamplings):
        raise FastdiffError("--mask, --strength and --resamplings change an image: give --image")
    opened = tune(load(model, "cuda" if torch.cuda.is_available() else "cpu"), precision.value, channels_last, compile)
    how = {"sampler": sampler, "steps": steps, "seed": seed, "spacing": spacing, "guidance": guidance, "batch": batch,
           "labels": torch.tensor(classes) if classes else None, "watch": watch if preview else None, **bounds(guide)}
    if image is None:
        x = draw(opened, n=n, **how)
    else:
        given = read_images(image, opened.shape)
        known = None if mask is None else read_images(mask, opened.shape)[:1] > 0
        x = edit(opened, given[torch.arange(n) % len(given)], mask=known, strength=strength, resamplings=resamplings, **how)
    write(x, out)
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
    metrics: Annotated[str, typer.Option(help="More of them: nll.")] = "",
    batch: int = 512,
    speed: Annotated[bool, typer.Option("--speed", help="Measure the samplers' own time on the first model.")] = False,
    out: Annotated[Path, typer.Option(help="Where bench.jsonl and the report go.")] = Path("checkpoints/bench"),
    as_json: Json = False,
) -> None:
    """Measure quality, cost and time of models against the teacher's baselines."""
    counts, draws = integers("--steps", steps), integers("--seeds", seeds)
    if speed:
        return bench_speed(models[0], max(counts), out, as_json)
    from rich.console import Console

    from . import report as reports
    from .bench import BenchConfig, sweep
    from .data import open_dataset

    baselines = tuple(re.split(r",(?![^\[]*\])", against)) if against else ()             # commas in brackets are options'
    config = BenchConfig(steps=counts, baselines=baselines, n=n, seeds=draws, batch=batch,
                         extractor=extractor, metrics=tuple(metrics.split(",")) if metrics else ())
    names = names_of(models)
    dataset = open_dataset(data, **({} if resolution is None else {"resolution": resolution}))
    console = Console(stderr=True)
    rows = []
    with console.status("measuring"):
        for row in sweep(names, dataset, config, out, teacher=next(iter(names))):
            rows.append(row)
            if not as_json:
                console.print(f"{row['cell']}  seed {row['seed']}  {row[reports.metric_of([row])]:.4g}", markup=False)
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
    elif int(os.environ.get("RANK", 0)) == 0:
        reports.write(out)
        Console().print(reports.table(rows))


def bench_speed(model: str, steps: int, out: Path, as_json: bool) -> None:
    """What every sampler adds to the model's network."""
    from rich.console import Console

    from .samplers import SAMPLERS
    from .speed import record, table

    rows, console = [], Console(stderr=True)
    with console.status("measuring"):
        for row in record(model, list(SAMPLERS), steps, out):
            rows.append(row)
            console.print(f"{row['sampler']}  {row['over_forward']:.3f}", markup=False)
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
    else:
        Console().print(table(rows))


@app.command()
def search(
    model: Model,
    steps: Annotated[int, typer.Option(help="How many; the times between the first and the last are sought.")] = 2,
    spacing: Annotated[str | None, typer.Option(help="The grid to start from.")] = None,
    n: Annotated[int, typer.Option(help="Samples a grid is judged by.")] = 512,
    seed: Annotated[int, typer.Option(help="Of their noise: choose one that no benchmark uses.")] = 1000,
    rounds: Annotated[int, typer.Option(help="Over all times.")] = 2,
    data: Annotated[str, typer.Option(help="A data set's name or path.")] = "digits",
    extractor: Annotated[str | None, typer.Option(help="inception, inception:/path, or a feature network's folder.")] = None,
) -> None:
    """Find the best intermediate times of a student and store them with it."""
    import torch
    from accelerate import Accelerator
    from rich.console import Console

    from .bench import BenchConfig, check_fit
    from .checkpoint import about, load, record_times
    from .data import open_dataset
    from .evaluate import open_evaluator
    from .search import search_times

    accelerator, dataset = Accelerator(cpu=not torch.cuda.is_available()), open_dataset(data)
    opened = load(model, accelerator.device)
    if about(Path(model).expanduser()) is None:
        raise FastdiffError(f"{model} has no fastdiff.json to store the times in: `fastdiff export` it first")
    check_fit(model, opened, dataset, BenchConfig())
    labels = dataset.labels[torch.arange(n) % len(dataset)] if opened.net.null_label is not None else None
    evaluator = open_evaluator(dataset, extractor, accelerator.device, Path(model).parent / "reference")

    def metric(x: torch.Tensor) -> float:
        evaluator.add(torch.arange(len(x)), x)
        return evaluator.result(accelerator)[evaluator.metric]

    console = Console(stderr=True)
    with console.status("searching"):
        for found in search_times(opened, steps, metric, spacing=spacing, n=n, seed=seed, rounds=rounds, labels=labels):
            console.print(f"{found.value:.4g}  {', '.join(f'{t:.4g}' for t in found.times.tolist())}")
    record_times(model, found.times)
    typer.echo(f"stored with {model}: {', '.join(f'{t:.4g}' for t in found.times.tolist())}")


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
