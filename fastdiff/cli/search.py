"""The search command."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import FastdiffError
from .options import Captions, Colour, Data, Model, Resolution, given

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

    from ..evaluation.evaluator import Evaluator


def search(
    model: Model,
    steps: Annotated[
        int,
        typer.Option(help="Number of steps; the times between the first and the last are searched for."),
    ] = 2,
    spacing: Annotated[str | None, typer.Option(help="The grid to start from.")] = None,
    n: Annotated[int, typer.Option(help="Samples a grid is judged by.")] = 512,
    seed: Annotated[
        int, typer.Option(max=2**63 - 1, help="Seed of their noise: choose one that no benchmark uses.")
    ] = 1000,
    rounds: Annotated[int, typer.Option(help="Rounds over all times.")] = 2,
    data: Data = "digits",
    resolution: Resolution = None,
    colour: Colour = None,
    captions: Captions = None,
    extractor: Annotated[str | None, typer.Option(help="One feature network, as in bench.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance weight. [default: 1, or the nearest that the model takes]")
    ] = None,
) -> None:
    """Find the best intermediate times of a student and store them with it."""
    from rich.console import Console

    from ..core.accelerator import make_accelerator
    from ..core.guidance import usual_guidance
    from ..data.registry import open_dataset
    from ..evaluation.conditions import asked
    from ..evaluation.config import BenchConfig
    from ..evaluation.opening import open_evaluators
    from ..evaluation.sweep import check_fit
    from ..io.load import load, read_metadata, record_times
    from ..runs.cards import renew
    from ..samplers.time_search import search_times

    accelerator = make_accelerator()
    dataset = open_dataset(data, **given(resolution=resolution, colour=colour, captions=captions))
    opened = load(model, accelerator.device)
    folder = Path(model).expanduser()
    if read_metadata(folder) is None:
        raise FastdiffError(f"{model} has no fastdiff.json to store the times in: `fastdiff export` it first")
    guidance = usual_guidance(opened) if guidance is None else guidance
    check_fit(model, opened, dataset, BenchConfig(guidance=guidance))
    family = "energy" if len(dataset.shape) == 1 else "fd"
    [evaluator, *others] = open_evaluators(dataset, extractor, (family,), accelerator.device)
    if others:
        raise FastdiffError(f"--extractor {extractor}: one network is to judge the times, name one")
    console = Console(stderr=True)
    with console.status("searching"):
        for found in search_times(
            opened,
            steps,
            partial(distance, evaluator, family, accelerator),
            spacing=spacing,
            n=n,
            seed=seed,
            rounds=rounds,
            cond=asked(opened, dataset, n),
            guidance=guidance,
        ):
            times = ", ".join(f"{t:.4g}" for t in found.times.tolist())
            console.print(f"{found.value:.4g}  {times}")
    record_times(model, found.times)
    renew(folder)
    typer.echo(f"stored with {model}: {times}")


def distance(evaluator: "Evaluator", family: str, accelerator: "Accelerator", samples: "Tensor") -> float:
    """Return the distance of samples to the evaluator's data, by a family of metrics."""
    import torch

    evaluator.add(torch.arange(len(samples)), samples)
    return evaluator.result(accelerator).values[evaluator.net.named(family)]
