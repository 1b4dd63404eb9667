"""Verbs that measure: bench, evaluate, search."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import FastdiffError
from .options import Json, Model, given, integers, names_of, numbers, words

Extractors = Annotated[str | None, typer.Option(
    "--extractor", help="inception, vgg16, clip-..., dinov2-... (name:/path gives its weights), or the folder of a feature "
                        "network; several separated by commas.")]
Resolution = Annotated[int | None, typer.Option(help="Resize and crop the data's images.")]
Colour = Annotated[str | None, typer.Option(help="rgb or grey, of images in files.")]
Metrics = Annotated[str, typer.Option("--metrics", help="fd, kd, pr, score, sfd, accuracy, energy, swd, nll; separated by "
                                                        "commas, else the usual ones.")]


def bench(
    models: Annotated[list[str], typer.Argument(help="Models; the first is the teacher that --against is drawn with.")],
    steps: Annotated[str, typer.Option(help="Step counts, separated by commas.")] = "1,2,4,8",
    against: Annotated[str, typer.Option(help="The teacher's baselines, sampler:steps.")] = "ddpm:1000,ddim:50",
    samplers: Annotated[str, typer.Option(help="At every step count, of all models that take them, besides their own; "
                                               "else ddim, of the teacher.")] = "",
    spacings: Annotated[str, typer.Option(help="Grids of those samplers; else uniform.")] = "",
    guidance: Annotated[str, typer.Option(help="Weights, separated by commas; 1 is none.")] = "1",
    clip: Annotated[float | None, typer.Option(help="Bound of the clean prediction while sampling.")] = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Samples a cell and seed.")] = 2000,
    seeds: Annotated[str, typer.Option(help="Separated by commas; each draws samples of its own.")] = "0",
    data: Annotated[str, typer.Option(help="A data set's name or path.")] = "digits",
    resolution: Resolution = None,
    colour: Colour = None,
    captions: Annotated[str | None, typer.Option(help="Prompts of the data: 'a photo of a {class}' or '{column}'.")] = None,
    extractor: Extractors = None,
    metrics: Metrics = "",
    batch: int = 512,
    budget: Annotated[str | None, typer.Option(help="90s, 10m or 2h: what would take longer is left out.")] = None,
    speed: Annotated[bool, typer.Option("--speed", help="Measure the samplers' own time on the first model.")] = False,
    training: Annotated[bool, typer.Option("--training", help="With --speed: that of the methods' training steps.")] = False,
    methods: Annotated[str, typer.Option(help="With --speed --training, separated by commas; else all.")] = "",
    out: Annotated[Path, typer.Option(help="Where bench.jsonl and the report go.")] = Path("checkpoints/bench"),
    as_json: Json = False,
) -> None:
    """Measure quality, cost and time of models against the teacher's baselines."""
    counts, draws = integers("--steps", steps), integers("--seeds", seeds)
    if (training and not speed) or (methods and not training):
        raise FastdiffError("--training goes with --speed, and --methods with both: they measure training steps")
    if speed:
        return bench_speed(models[0], words(methods) if training else None, max(counts), out, as_json)
    from rich.console import Console

    from ..data.registry import open_dataset
    from ..evaluation import report as reports
    from ..evaluation.rows import written
    from ..evaluation.sweep import BenchConfig, sweep

    config = BenchConfig(steps=counts, baselines=words(against), samplers=words(samplers), spacings=words(spacings),
                         guidance=numbers("--guidance", guidance), clip=clip, n=n, seeds=draws, batch=batch,
                         extractor=extractor, metrics=words(metrics) or None, budget=budget)
    names = names_of(models)
    dataset = open_dataset(data, **given(resolution=resolution, colour=colour, captions=captions))
    console = Console(stderr=True)
    main, rows = int(os.environ.get("RANK", 0)) == 0, []
    with console.status("measuring"):
        for row in sweep(names, dataset, config, out, teacher=next(iter(names))):
            rows.append(row)
            if main and not as_json:
                console.print(f"{row['cell']}  seed {row['seed']}  {row[reports.metric_of([row])]:.4g}", markup=False)
    if main and as_json:
        typer.echo("\n".join(map(written, rows)))
    elif main:
        for line in reports.left_out(out):
            typer.echo(line)
        if rows:
            reports.write(out)
            Console().print(reports.table(rows))


def bench_speed(model: str, methods: tuple[str, ...] | None, steps: int, out: Path, as_json: bool) -> None:
    """What every sampler adds to the model's network, or where methods are given (all if empty) every training step."""
    from rich.console import Console

    from ..evaluation.profiling import record, samplers, training
    from ..samplers import SAMPLERS

    if methods is None:
        kind, measure = samplers, partial(samplers.stored, path=model, samplers=list(SAMPLERS), steps=steps)
    else:
        kind, measure = training, partial(training.speed, methods=methods)
    rows, console = [], Console(stderr=True)
    with console.status("measuring"):
        for row in record(model, measure, out):
            rows.append(row)
            console.print(kind.line(row), markup=False)
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
    else:
        Console().print(kind.table(rows))


def evaluate(
    images: Annotated[str, typer.Argument(help="A folder of images, parquet files or a data set's name.")],
    data: Annotated[str, typer.Option(help="What they are compared with: a data set's name or path.")],
    resolution: Resolution = None,
    extractor: Extractors = None,
    metrics: Metrics = "",
    as_json: Json = False,
) -> None:
    """Judge images made by any program as samples of a data set."""
    from ..data.registry import DATASETS, open_dataset
    from ..evaluation.evaluator import evaluate_images
    from ..evaluation.rows import written

    real = open_dataset(data, **given(resolution=resolution))
    grey = images not in DATASETS and real.shape[0] == 1
    made = open_dataset(images, **({"colour": "grey"} if grey else {}))
    figures = evaluate_images(made, real, extractor, words(metrics) or None)
    if int(os.environ.get("RANK", 0)):
        return
    if as_json:
        typer.echo(written(figures))
    else:
        width = max(map(len, figures))
        shown = {name: value for name, value in figures.items() if isinstance(value, int | float)}
        typer.echo("\n".join(f"{name:{width}}  {value:.6g}" for name, value in shown.items()))
        if figures["n"] <= figures["dims"]:
            typer.echo("n is not above dims: the covariance is singular and a Frechet distance mostly bias", err=True)


def search(
    model: Model,
    steps: Annotated[int, typer.Option(help="How many; the times between the first and the last are sought.")] = 2,
    spacing: Annotated[str | None, typer.Option(help="The grid to start from.")] = None,
    n: Annotated[int, typer.Option(help="Samples a grid is judged by.")] = 512,
    seed: Annotated[int, typer.Option(max=2**63 - 1, help="Of their noise: choose one that no benchmark uses.")] = 1000,
    rounds: Annotated[int, typer.Option(help="Over all times.")] = 2,
    data: Annotated[str, typer.Option(help="A data set's name or path.")] = "digits",
    colour: Colour = None,
    extractor: Annotated[str | None, typer.Option(help="One feature network, as in bench.")] = None,
    guidance: Annotated[float | None, typer.Option(help="1 is none. [default: 1, or the nearest it knows]")] = None,
) -> None:
    """Find the best intermediate times of a student and store them with it."""
    import torch
    from accelerate import Accelerator
    from rich.console import Console

    from ..core.guidance import usual_guidance
    from ..data.registry import open_dataset
    from ..evaluation.cell import asked
    from ..evaluation.evaluator import open_evaluators
    from ..evaluation.sweep import BenchConfig, check_fit
    from ..io.load import about, load, record_times
    from ..runs.cards import renew
    from ..samplers.time_search import search_times

    accelerator, dataset = Accelerator(cpu=not torch.cuda.is_available()), open_dataset(data, **given(colour=colour))
    opened = load(model, accelerator.device)
    if about(Path(model).expanduser()) is None:
        raise FastdiffError(f"{model} has no fastdiff.json to store the times in: `fastdiff export` it first")
    guidance = usual_guidance(opened) if guidance is None else guidance
    check_fit(model, opened, dataset, BenchConfig(guidance=guidance))
    family = "energy" if len(dataset.shape) == 1 else "fd"
    [evaluator, *others] = open_evaluators(dataset, extractor, (family,), accelerator.device)
    if others:
        raise FastdiffError(f"--extractor {extractor}: one network is to judge the times, name one")

    def metric(x: torch.Tensor) -> float:
        evaluator.add(torch.arange(len(x)), x)
        return evaluator.result(accelerator).values[evaluator.net.named(family)]

    console = Console(stderr=True)
    with console.status("searching"):
        for found in search_times(opened, steps, metric, spacing=spacing, n=n, seed=seed, rounds=rounds,
                                  cond=asked(opened, dataset, n), guidance=guidance):
            console.print(f"{found.value:.4g}  {', '.join(f'{t:.4g}' for t in found.times.tolist())}")
    record_times(model, found.times)
    renew(Path(model).expanduser())
    typer.echo(f"stored with {model}: {', '.join(f'{t:.4g}' for t in found.times.tolist())}")
