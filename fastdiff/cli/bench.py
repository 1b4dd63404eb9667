"""The `bench` command: measures models in a sweep over step counts, samplers and guidance weights."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import FastdiffError
from ..evaluation.baselines import BASELINES
from .options import (
    Batch,
    Captions,
    Colour,
    Data,
    Extractors,
    Json,
    Metrics,
    Resolution,
    given,
    integers,
    names_of,
    numbers,
    words,
)
from .processes import is_main_process


def bench(
    models: Annotated[
        list[str],
        typer.Argument(help="Models to measure; the first is the teacher."),
    ],
    steps: Annotated[str, typer.Option(help="Numbers of sampling steps, separated by commas.")] = "1,2,4,8",
    baselines: Annotated[
        str,
        typer.Option(help="The teacher's extra rows: sampler:steps[@n], ..."),
    ] = ",".join(BASELINES),
    samplers: Annotated[
        str,
        typer.Option(
            help="Extra samplers, for every model and step count.",
            show_default="each model's own; DDIM for the teacher",
        ),
    ] = "",
    spacings: Annotated[
        str,
        typer.Option(help="Time grids of the extra samplers.", show_default="uniform"),
    ] = "",
    guidance: Annotated[
        str | None,
        typer.Option(
            help="Guidance scales, separated by commas; 1 for none.", show_default="1, or the model's nearest"
        ),
    ] = None,
    clip: Annotated[
        float | None,
        typer.Option(
            help="Bound of the predicted x0 while sampling; inf for none.",
            show_default="each model's own",
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Number of samples per row.")] = 2000,
    seeds: Annotated[
        str,
        typer.Option(help="Seeds of the noise, separated by commas."),
    ] = "0",
    data: Data = "digits",
    resolution: Resolution = None,
    colour: Colour = None,
    captions: Captions = None,
    extractor: Extractors = None,
    metrics: Metrics = "",
    held_out: Annotated[
        str | None,
        typer.Option(
            help="Split, such as test, for the row of real data.",
            show_default="the data are divided at random",
        ),
    ] = None,
    batch: Batch = 512,
    budget: Annotated[
        str | None,
        typer.Option(help="Time limit, such as 90s, 10m or 2h; skips rows."),
    ] = None,
    speed: Annotated[
        bool,
        typer.Option("--speed", help="Measure instead the time that samplers add."),
    ] = False,
    training: Annotated[
        bool,
        typer.Option("--training", help="With --speed: time training steps of methods."),
    ] = False,
    methods: Annotated[
        str,
        typer.Option(help="Methods for --speed --training.", show_default="all"),
    ] = "",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the rows and the report.")] = Path(
        "checkpoints/bench"
    ),
    as_json: Json = False,
) -> None:
    """Measure models against their teacher's baselines.

    The table has the quality, cost and time of every model, sampler and step count.
    """
    step_counts = integers("--steps", steps)
    seed_list = integers("--seeds", seeds)
    if (training and not speed) or (methods and not training):
        raise FastdiffError(
            "--training needs --speed, and --methods needs --speed --training: they time training steps"
        )
    if speed:
        return bench_speed(models[0], words(methods) if training else None, max(step_counts), out, as_json)
    from rich.console import Console

    from ..core.files import strict_json
    from ..data.registry import open_dataset
    from ..evaluation import report as reports
    from ..evaluation.config import BenchConfig
    from ..evaluation.sweep import Sweep

    config = BenchConfig(
        steps=step_counts,
        baselines=words(baselines),
        samplers=words(samplers),
        spacings=words(spacings),
        guidance=None if guidance is None else numbers("--guidance", guidance),
        clip=clip,
        n=n,
        seeds=seed_list,
        batch=batch,
        extractor=extractor,
        metrics=words(metrics) or None,
        held_out=held_out,
        budget=budget,
    )
    names = names_of(models)
    options = given(resolution=resolution, colour=colour, captions=captions)
    dataset = open_dataset(data, **options)
    held = None if held_out is None else open_dataset(data, **options, split=held_out)
    console = Console(stderr=True)
    main = is_main_process()
    rows = []
    sweep = Sweep(names, dataset, config, out, teacher=next(iter(names)), held_out=held)
    with console.status("measuring"):
        for row in sweep.rows():
            rows.append(row)
            if main and not as_json:
                figure = row[reports.metric_of([row])]
                console.print(f"{row['cell']}  seed {row['seed']}  {figure:.4g}", markup=False)
    if main and as_json:
        typer.echo("\n".join(map(strict_json, rows)))
    elif main:
        for line in reports.left_out(out):
            typer.echo(line)
        if rows:
            reports.write(out)
            reports.print_table(reports.table([*sweep.real_rows, *rows]))


def bench_speed(model: str, methods: tuple[str, ...] | None, steps: int, out: Path, as_json: bool) -> None:
    """Measure the time that samplers add to a model's network, or the time of methods' training steps.

    Args:
        model: path or hub id of the model.
        methods: names of the methods whose training steps are timed, all if empty; None times samplers.
        steps: number of steps of the samplers.
        out: the folder whose speed.jsonl the rows are appended to.
        as_json: print JSON instead of a table.
    """
    from rich.console import Console

    from ..evaluation.profiling import record, samplers, training
    from ..evaluation.report import print_table
    from ..samplers import SAMPLERS

    if methods is None:
        kind = samplers
        measure = partial(samplers.stored, path=model, samplers=list(SAMPLERS), steps=steps)
    else:
        kind = training
        measure = partial(training.speed, methods=methods)
    rows = []
    console = Console(stderr=True)
    with console.status("measuring"):
        for row in record(model, measure, out):
            rows.append(row)
            console.print(kind.line(row), markup=False)
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
    else:
        print_table(kind.table(rows))
