"""The search command."""

from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import FastdiffError
from .options import Colour, Model, given


def search(
    model: Model,
    steps: Annotated[
        int, typer.Option(help="How many; the times between the first and the last are sought.")
    ] = 2,
    spacing: Annotated[str | None, typer.Option(help="The grid to start from.")] = None,
    n: Annotated[int, typer.Option(help="Samples a grid is judged by.")] = 512,
    seed: Annotated[
        int, typer.Option(max=2**63 - 1, help="Of their noise: choose one that no benchmark uses.")
    ] = 1000,
    rounds: Annotated[int, typer.Option(help="Over all times.")] = 2,
    data: Annotated[str, typer.Option(help="A data set's name or path.")] = "digits",
    colour: Colour = None,
    extractor: Annotated[str | None, typer.Option(help="One feature network, as in bench.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="1 is none. [default: 1, or the nearest it knows]")
    ] = None,
) -> None:
    """Find the best intermediate times of a student and store them with it."""
    import torch
    from accelerate import Accelerator
    from rich.console import Console

    from ..core.guidance import usual_guidance
    from ..data.registry import open_dataset
    from ..evaluation.cell import asked
    from ..evaluation.config import BenchConfig
    from ..evaluation.evaluator import open_evaluators
    from ..evaluation.sweep import check_fit
    from ..io.load import about, load, record_times
    from ..runs.cards import renew
    from ..samplers.time_search import search_times

    accelerator, dataset = (
        Accelerator(cpu=not torch.cuda.is_available()),
        open_dataset(data, **given(colour=colour)),
    )
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
        for found in search_times(
            opened,
            steps,
            metric,
            spacing=spacing,
            n=n,
            seed=seed,
            rounds=rounds,
            cond=asked(opened, dataset, n),
            guidance=guidance,
        ):
            console.print(f"{found.value:.4g}  {', '.join(f'{t:.4g}' for t in found.times.tolist())}")
    record_times(model, found.times)
    renew(Path(model).expanduser())
    typer.echo(f"stored with {model}: {', '.join(f'{t:.4g}' for t in found.times.tolist())}")
